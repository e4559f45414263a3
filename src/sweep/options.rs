//! The settings of a sweep.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::threshold::Search;
use super::{Spec, SweepError, System, Threads};

/// The settings of a sweep.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Options {
    /// The backends to measure, in this order. Default all.
    pub systems: Vec<System>,
    /// The threads of a trial. Default as many as suit this machine.
    pub threads: Threads,
    /// The length of a trial's window, if the load is long enough for it. Default 2 s.
    pub window: Duration,
    /// The runs in a row that must pass at the threshold. Default 3.
    pub in_a_row: u32,
    /// The lowest rate to try, in block operations per second. Default 2,000.
    pub lowest: f64,
    /// The factor by which the rate rises until a backend fails. Default 3.
    pub rung: f64,
    /// The factor to within which the threshold is found. Default 1.1.
    pub precision: f64,
    /// For how long the disturbed trials of a backend are repeated. Default 3 minutes.
    pub patience: Duration,
    /// For how long the answers of each backend are compared. Default 10 s.
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

/// The shortest window in seconds. In a shorter one, a single time slice of the scheduler would be more than the percent
/// by which a trial may be late.
const SHORTEST: f64 = 0.05;
/// The fewest operations of a trial.
const FEWEST: usize = 64;

impl Options {
    /// Returns settings that take all backends through in under three minutes on two cores: shorter windows, fewer runs
    /// in a row.
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

    /// Checks the options, as [`run`](super::run) also does.
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

    /// Returns how to search for the threshold with a load of `blocks` block operations.
    pub(super) fn search(&self, blocks: u64) -> Search {
        Search {
            lowest: self.lowest,
            rung: self.rung.max(1.01),
            highest: blocks as f64 / SHORTEST.min(self.window.as_secs_f64()),
            precision: self.precision.max(1.001),
            in_a_row: self.in_a_row,
        }
    }

    /// Describes the trial at a rate: as many operations as fill the window. `blocks` is [`Load::blocks`](super::Load::blocks).
    pub(super) fn spec(&self, system: System, blocks: &[u64], rate: f64) -> Spec {
        let wanted = rate * self.window.as_secs_f64();
        let operations = blocks.partition_point(|&blocks| (blocks as f64) < wanted).max(FEWEST).min(blocks.len() - 1);
        let window = Duration::from_secs_f64(blocks[operations].max(1) as f64 / rate);
        Spec { system, threads: self.threads, operations, window_ns: nanoseconds(window) }
    }
}

/// Returns the nanoseconds in a duration.
fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
