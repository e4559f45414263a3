//! What goes wrong in the world.

use std::time::Duration;

use super::SimError;

/// What goes wrong in the world. By default nothing does: events arrive at once and in full.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct World {
    /// How long an event is on its way to the router.
    pub delay: Duration,
    /// The most that is added to the delay, evenly distributed. Events of one worker do not overtake each other.
    pub jitter: Duration,
    /// The part of the events that is lost, 0 to 1.
    pub loss: f64,
    /// The part of the events that arrives twice, 0 to 1.
    pub duplication: f64,
    /// What happens to workers, in any order.
    pub incidents: Vec<Incident>,
    /// How often a request is tried again when its worker dies under it, before it counts as rejected. `None`: 3 times.
    pub retries: Option<u32>,
}

/// Something that happens to a worker.
///
/// The router knows at once who is there and who is not, as broken connections tell it, and forgets at once what was in
/// flight there. That the blocks are gone it hears as it hears events, as late as they are, though never not at all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Incident {
    /// When, since the beginning.
    pub at: Duration,
    /// To whom: from 0. A number beyond those of the fleet can only join.
    pub worker: u32,
    /// What happens.
    pub change: Change,
}

/// What happens to a worker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// It dies, and is back at once with an empty cache and at its usual speed.
    Restart,
    /// It dies.
    Leave,
    /// It is there from now on, with an empty cache.
    Join,
    /// Its steps take so many times as long as usual.
    Slow(f64),
}

/// Tries after the first.
const RETRIES: u32 = 3;
/// The latest that something is planned for or takes to arrive.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

impl World {
    pub(super) fn retries(&self) -> u32 {
        self.retries.unwrap_or(RETRIES)
    }

    /// Incidents in the order in which they happen.
    pub(super) fn incidents(&self) -> Vec<Incident> {
        let mut incidents = self.incidents.clone();
        incidents.sort_by_key(|incident| incident.at);
        incidents
    }

    /// Whether all of it can happen to a fleet of so many.
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
                Change::Restart => ("--restart", (!there).then_some("is not there then")),
                Change::Leave => ("--leave", (!there).then_some("is not there then")),
                Change::Join => ("--join", there.then_some("is there already")),
                Change::Slow(times) if !(times.is_finite() && times > 0.0) => {
                    ("--slow", Some("must become slower by a finite number above 0"))
                }
                Change::Slow(_) => ("--slow", (!there).then_some("is not there then")),
            };
            if let Some(wrong) = wrong {
                let why = format!("at {} s: worker {worker} {wrong}", at.as_secs_f64());
                return Err(SimError::Option { option, why });
            }
            if at > LONGEST {
                return Err(SimError::Option { option, why: "is more than a year from the beginning".to_owned() });
            }
            if worker >= super::Options::MAX_WORKERS {
                let why = format!("names worker {worker}; at most {} are possible", super::Options::MAX_WORKERS);
                return Err(SimError::Option { option, why });
            }
            if present.len() <= worker as usize {
                present.resize(worker as usize + 1, false);
            }
            present[worker as usize] = change != Change::Leave;
        }
        Ok(())
    }

    /// Everything that goes wrong, a line each.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if !(self.delay.is_zero() && self.jitter.is_zero()) {
            let jitter =
                if self.jitter.is_zero() { String::new() } else { format!(" to {:?}", self.delay + self.jitter) };
            lines.push(format!("events arrive after {:?}{jitter}", self.delay));
        }
        if self.loss > 0.0 {
            lines.push(format!("{}% of the events are lost", 100.0 * self.loss));
        }
        if self.duplication > 0.0 {
            lines.push(format!("{}% of the events arrive twice", 100.0 * self.duplication));
        }
        lines.extend(self.incidents().iter().map(|Incident { at, worker, change }| {
            let what = match change {
                Change::Restart => "restarts".to_owned(),
                Change::Leave => "leaves".to_owned(),
                Change::Join => "joins".to_owned(),
                Change::Slow(times) => format!("is {times} times as slow"),
            };
            format!("worker {worker} {what} at {:?}", at)
        }));
        lines
    }
}
