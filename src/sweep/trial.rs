//! The description and the result of a trial.

use serde::{Deserialize, Serialize};

use super::{System, Threads};

/// A trial to play.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Spec {
    /// The backend.
    pub system: System,
    /// The threads that play, and that apply.
    pub threads: Threads,
    /// How many operations of the load to play, from its beginning.
    pub operations: usize,
    /// The window, in nanoseconds. The load's times are scaled so that the last deadline is the end of the window.
    pub window_ns: u64,
}

/// The result of a trial. Rates are per second, and times are counted from the beginning of the window.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Trial {
    /// Seconds in which all operations were due.
    pub window: f64,
    /// Operations that were due: lookups and events.
    pub operations: u64,
    /// Blocks that these name: blocks of queries, blocks stored, and blocks removed.
    pub block_operations: u64,
    /// `operations / window`.
    pub offered_ops: f64,
    /// `block_operations / window`.
    pub offered_block_ops: f64,
    /// Operations issued, divided by the time of the last one; 0 if none was issued.
    pub issued_ops: f64,
    /// Operations completed (lookups answered and events visible), divided by the time of the last completion.
    pub achieved_ops: f64,
    /// The same in block operations.
    pub achieved_block_ops: f64,
    /// Seconds until the last operation was issued.
    pub issued_after: f64,
    /// Seconds until everything was completed and the queues were drained, or until the trial was given up.
    pub done_after: f64,
    /// Whether the trial took too long and was given up. The achieved rates are then estimated from the number of events
    /// that wait.
    pub given_up: bool,
    /// Whether all operations were issued, within [`Trial::VALID`] windows.
    pub valid: bool,
    /// Whether everything was completed within [`Trial::KEPT_UP`] windows.
    pub kept_up: bool,
    /// Events that were not visible at the end of the window, whether queued or not handed over yet.
    pub left_in_queue: u64,
    /// Their share of all events, 0 to 1.
    pub left_share: f64,
    /// Lookup times from call to answer; `None` if no lookup was issued.
    pub lookup_ns: Option<Quantiles>,
    /// Lookup times from deadline to answer, which include waiting for earlier lookups; `None` if none was issued.
    pub response_ns: Option<Quantiles>,
    /// Times from handing an event over to its visibility, measured with markers; `None` for a backend that holds
    /// nothing, and if no marker was handed over.
    pub staleness_us: Option<Quantiles>,
    /// The share of the cores' time that other processes took meanwhile, 0 to 1; `None` where the system does not say.
    pub others: Option<f64>,
    /// Events that the backend rejected, those before the window included; `None` if the trial was given up.
    pub rejected: Option<u64>,
}

/// Exact quantiles of at least one value, by the nearest-rank method.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// The number of values.
    pub count: u64,
    /// Half of the values are no larger.
    pub p50: f64,
    /// 99% of the values are no larger.
    pub p99: f64,
    /// 99.9% of the values are no larger.
    pub p999: f64,
    /// The largest value.
    pub max: f64,
}

impl Quantiles {
    /// Computes the quantiles of values that are given in parts of a unit, `parts` of which make one; `None` if there
    /// are none.
    pub(super) fn new(mut values: Vec<u64>, parts: f64) -> Option<Self> {
        values.sort_unstable();
        let at = |quantile: f64| {
            let rank = (quantile * values.len() as f64).ceil() as usize;
            values[rank.saturating_sub(1)] as f64 / parts
        };
        let count = values.len() as u64;
        (count > 0).then(|| Self { count, p50: at(0.5), p99: at(0.99), p999: at(0.999), max: at(1.0) })
    }
}

impl Trial {
    /// A trial is valid if all operations were issued within this many windows.
    pub const VALID: f64 = 1.01;
    /// The backend kept up if everything was completed within this many windows.
    pub const KEPT_UP: f64 = 1.10;
    /// The largest share of the events that may still wait when the window ends.
    pub const LEFT: f64 = 0.05;
    /// Up to this many waiting events are no queue, whatever their share: they came just before the end.
    pub const FEW: u64 = 16;
    /// A trial is given up after this many windows.
    pub const GIVE_UP: f64 = 2.0;

    /// A trial is disturbed if other processes take more than this share of the cores' time.
    pub const OTHERS: f64 = 0.05;

    /// Returns whether the machine was busy with other work.
    pub fn is_disturbed(&self) -> bool {
        self.others.is_some_and(|others| others > Self::OTHERS)
    }

    /// Returns whether the backend takes this load.
    pub fn passes(&self) -> bool {
        let drained = self.left_share <= Self::LEFT || self.left_in_queue <= Self::FEW;
        self.valid && self.kept_up && drained
    }
}
