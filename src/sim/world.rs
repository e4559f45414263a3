//! Failures and delays.

use std::time::Duration;

use super::SimError;

/// Failures and delays. By default there are none: all events arrive at once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct World {
    /// How long an event takes to reach the router.
    pub delay: Duration,
    /// The most that is added to the delay, uniformly distributed. Events of one worker do not overtake each other.
    pub jitter: Duration,
    /// The share of events that are lost, 0 to 1.
    pub loss: f64,
    /// The share of events that arrive twice, 0 to 1.
    pub duplication: f64,
    /// Incidents, in any order.
    pub incidents: Vec<Incident>,
    /// How often a request is retried after its worker has died, before it counts as rejected. `None`: 3 times.
    pub retries: Option<u32>,
}

/// Something that happens to a worker.
///
/// The router notices at once that a worker has joined or died, as it would from a broken connection, and forgets the
/// requests in flight there. The index learns that the blocks are gone as late as from an event, but that notice is
/// never lost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Incident {
    /// When it happens, since the start.
    pub at: Duration,
    /// The number of the worker, from 0. A number beyond the initial fleet can only join.
    pub worker: u32,
    /// What happens.
    pub change: Change,
}

/// What happens to a worker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// It dies and restarts at once, with an empty cache and at its usual speed.
    Restart,
    /// It dies.
    Leave,
    /// It joins, with an empty cache.
    Join,
    /// Its steps take this many times as long as usual.
    Slow(f64),
}

/// Retries of a request by default.
const RETRIES: u32 = 3;
/// The longest delay, and the latest time of an incident.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

impl World {
    pub(super) fn retries(&self) -> u32 {
        self.retries.unwrap_or(RETRIES)
    }

    /// Returns the incidents in order of time.
    pub(super) fn incidents(&self) -> Vec<Incident> {
        let mut incidents = self.incidents.clone();
        incidents.sort_by_key(|incident| incident.at);
        incidents
    }

    /// Checks that everything is possible in a fleet of this many workers.
    pub(super) fn check(&self, workers: u32) -> Result<(), SimError> {
        for (option, part) in [("--loss", self.loss), ("--duplication", self.duplication)] {
            if !(0.0..=1.0).contains(&part) {
                return Err(SimError::Option { option, why: format!("is {part}; it must be between 0 and 1") });
            }
        }
        for (option, time) in [("--lag", self.delay), ("--jitter", self.jitter)] {
            if time > LONGEST {
                return Err(SimError::Option { option, why: "is more than a year".to_owned() });
            }
        }
        let mut present = vec![true; workers as usize];
        for Incident { at, worker, change } in self.incidents() {
            let there = present.get(worker as usize).copied().unwrap_or(false);
            let (option, wrong) = match change {
                Change::Restart => ("--restart", (!there).then_some("is not present then")),
                Change::Leave => ("--leave", (!there).then_some("is not present then")),
                Change::Join => ("--join", there.then_some("is present already")),
                Change::Slow(times) if !(times.is_finite() && times > 0.0) => {
                    ("--slow", Some("must become slower by a finite factor above 0"))
                }
                Change::Slow(_) => ("--slow", (!there).then_some("is not present then")),
            };
            if let Some(wrong) = wrong {
                let why = format!("at {} s: worker {worker} {wrong}", at.as_secs_f64());
                return Err(SimError::Option { option, why });
            }
            if at > LONGEST {
                return Err(SimError::Option { option, why: "is more than a year after the start".to_owned() });
            }
            if worker >= super::Options::MAX_WORKERS {
                let why =
                    format!("names worker {worker}; there can be at most {} workers", super::Options::MAX_WORKERS);
                return Err(SimError::Option { option, why });
            }
            if present.len() <= worker as usize {
                present.resize(worker as usize + 1, false);
            }
            present[worker as usize] = change != Change::Leave;
        }
        Ok(())
    }

    /// Describes all failures and delays, one line each.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if !(self.delay.is_zero() && self.jitter.is_zero()) {
            let jitter =
                if self.jitter.is_zero() { String::new() } else { format!(" to {:?}", self.delay + self.jitter) };
            lines.push(format!("events arrive after {:?}{jitter}", self.delay));
        }
        if self.loss > 0.0 {
            lines.push(format!("{}% of the events are lost", percent(self.loss)));
        }
        if self.duplication > 0.0 {
            lines.push(format!("{}% of the events arrive twice", percent(self.duplication)));
        }
        lines.extend(self.incidents().iter().map(|Incident { at, worker, change }| {
            let what = match change {
                Change::Restart => "restarts".to_owned(),
                Change::Leave => "leaves".to_owned(),
                Change::Join => "joins".to_owned(),
                Change::Slow(times) => format!("is {times} times as slow"),
            };
            format!("worker {worker} {what} at {at:?}")
        }));
        lines
    }
}

/// Returns a share in percent, without the last digits, which are those of binary fractions: 7, and not
/// 7.000000000000001.
fn percent(share: f64) -> f64 {
    (100.0 * share * 1e9).round() / 1e9
}
