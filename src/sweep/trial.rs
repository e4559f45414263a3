//! What a trial is, and what comes of it.

use serde::{Deserialize, Serialize};

use super::{System, Threads};

/// What to play, on what.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Spec {
    /// The backend.
    pub system: System,
    /// The threads.
    pub threads: Threads,
    /// How many operations of the load.
    pub operations: usize,
    /// In how many nanoseconds. The load's times are scaled so that the last deadline is the window's end.
    pub window_ns: u64,
}

/// What came of it. Rates are per second; times are counted from the window's beginning.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Trial {
    /// Seconds in which everything was to be issued.
    pub window: f64,
    /// Operations to be issued: lookups and events.
    pub operations: u64,
    /// Blocks that they name: of queries, stored and removed.
    pub block_operations: u64,
    /// Operations by the window.
    pub offered_ops: f64,
    /// Block operations by the window.
    pub offered_block_ops: f64,
    /// Operations issued, by the time of the last one.
    pub issued_ops: f64,
    /// Operations completed by the time of the last completion: lookups answered and events visible.
    pub achieved_ops: f64,
    /// Block operations likewise.
    pub achieved_block_ops: f64,
    /// Seconds until the last operation was issued.
    pub issued_after: f64,
    /// Seconds until everything was completed, queues drained; or until the trial was given up.
    pub done_after: f64,
    /// Whether it took too long and was given up. What is achieved is then estimated from how many events wait.
    pub given_up: bool,
    /// Whether the last operation was issued within 1.01 windows.
    pub valid: bool,
    /// Whether everything was completed within 1.10 windows.
    pub kept_up: bool,
    /// Events not visible at the end of the window: queued, or not handed over yet.
    pub left_in_queue: u64,
    /// Their share of all events, 0 to 1.
    pub left_share: f64,
    /// Lookups, from call to answer.
    pub lookup_ns: Quantiles,
    /// Lookups, from deadline to answer: with the wait for lookups before.
    pub response_ns: Quantiles,
    /// Events, from hand-over to visibility, by markers; `None` where nothing is ever seen.
    pub staleness_us: Option<Quantiles>,
    /// The share of the cores' time that other processes took meanwhile, 0 to 1; `None` where the system does not tell.
    pub others: Option<f64>,
    /// Events that the backend rejected, of the load and before; unknown where the trial was given up.
    pub rejected: Option<u64>,
}

/// Exact quantiles, by nearest rank.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// How many values there were.
    pub count: u64,
    /// Half are no larger.
    pub p50: f64,
    /// 99% are no larger.
    pub p99: f64,
    /// 99.9% are no larger.
    pub p999: f64,
    /// The largest.
    pub max: f64,
}

impl Quantiles {
    /// Of values in some unit, given as so many of its parts.
    pub(super) fn new(mut values: Vec<u64>, parts: f64) -> Self {
        values.sort_unstable();
        let at = |quantile: f64| {
            let rank = (quantile * values.len() as f64).ceil() as usize;
            values.get(rank.saturating_sub(1)).map_or(0.0, |&value| value as f64 / parts)
        };
        Self { count: values.len() as u64, p50: at(0.5), p99: at(0.99), p999: at(0.999), max: at(1.0) }
    }
}

impl Trial {
    /// Issued within this many windows, it is valid.
    pub const VALID: f64 = 1.01;
    /// Done within this many, the backend kept up.
    pub const KEPT_UP: f64 = 1.10;
    /// The largest share of the events that may be left in the queue when the window ends.
    pub const LEFT: f64 = 0.05;
    /// So few events are no queue, whatever their share: they came just before the end.
    pub const FEW: u64 = 16;
    /// After this many windows, it is given up.
    pub const GIVE_UP: f64 = 2.0;

    /// Others disturb a trial if they take more of the cores than this.
    pub const OTHERS: f64 = 0.05;

    /// Whether the machine was busy with other things.
    pub fn is_disturbed(&self) -> bool {
        self.others.is_some_and(|others| others > Self::OTHERS)
    }

    /// Whether the backend takes this load.
    pub fn passes(&self) -> bool {
        let drained = self.left_share <= Self::LEFT || self.left_in_queue <= Self::FEW;
        self.valid && self.kept_up && drained
    }
}
