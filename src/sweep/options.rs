//! How to sweep.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::threshold::Search;
use super::{Spec, SweepError, System, Threads};

/// How to sweep.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Options {
    /// The backends, in this order. Default all.
    pub systems: Vec<System>,
    /// Threads of a trial. Default those that suit this machine.
    pub threads: Threads,
    /// How long a window is where the load is long enough for it. Default 2 s.
    pub window: Duration,
    /// How many runs in a row must pass at the threshold. Default 3.
    pub in_a_row: u32,
    /// The lowest rate that is tried, in block operations per second. Default 2,000.
    pub lowest: f64,
    /// By which factor the rate rises until the limit is passed. Default 3.
    pub rung: f64,
    /// To which factor the threshold is found. Default 1.1.
    pub precision: f64,
    /// For how long trials of a backend are repeated when others disturb them. Default 3 minutes.
    pub patience: Duration,
    /// For how long answers are compared, for each backend. Default 10 s.
    pub answers: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            systems: System::ALL.to_vec(),
            threads: Threads::default(),
            window: Duration::from_secs(2),
            in_a_row: 3,
            lowest: 2e3,
            rung: 3.0,
            precision: 1.1,
            patience: Duration::from_secs(180),
            answers: Duration::from_secs(10),
        }
    }
}

/// The shortest window: in a shorter one, a percent is what a scheduler takes at a time.
const SHORTEST: f64 = 0.05;
/// Fewer operations than these are no load.
const FEWEST: usize = 64;

impl Options {
    /// All backends in under three minutes on two cores: shorter windows, fewer runs in a row.
    #[must_use]
    pub fn quick() -> Self {
        Self {
            window: Duration::from_millis(400),
            in_a_row: 2,
            lowest: 5e3,
            rung: 6.0,
            patience: Duration::from_secs(6),
            answers: Duration::from_secs(1),
            ..Self::default()
        }
    }

    /// Whether the options make sense together; [`run`](super::run) asks, too.
    ///
    /// # Errors
    /// [`SweepError::Zero`].
    pub fn check(&self) -> Result<(), SweepError> {
        let counts = [
            ("backends", self.systems.is_empty()),
            ("window", self.window.is_zero()),
            ("runs", self.in_a_row == 0),
            ("lowest", self.lowest.is_nan() || self.lowest <= 0.0),
        ];
        if let Some(&(option, _)) = counts.iter().find(|(_, zero)| *zero) {
            return Err(SweepError::Zero { option });
        }
        self.threads.check()
    }

    /// The rates to try for a load of so many blocks.
    pub(super) fn search(&self, blocks: u64) -> Search {
        Search {
            lowest: self.lowest,
            rung: self.rung.max(1.01),
            highest: blocks as f64 / SHORTEST.min(self.window.as_secs_f64()),
            precision: self.precision.max(1.001),
            in_a_row: self.in_a_row,
        }
    }

    /// The trial at a rate: as much of the load as fills the window. `blocks` are [those](super::Load::blocks) of the
    /// first operations.
    pub(super) fn spec(&self, system: System, blocks: &[u64], rate: f64) -> Spec {
        let wanted = rate * self.window.as_secs_f64();
        let operations = blocks.partition_point(|&blocks| (blocks as f64) < wanted).max(FEWEST).min(blocks.len() - 1);
        let window = Duration::from_secs_f64(blocks[operations].max(1) as f64 / rate);
        Spec { system, threads: self.threads, operations, window_ns: nanoseconds(window) }
    }
}

/// Nanoseconds in a duration.
fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
