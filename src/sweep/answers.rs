//! Whether a backend's answers are right: a pass of its own, in which nothing is timed.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Load, SweepError, System, What};
use crate::baseline::reference::Reference;
use crate::baseline::{Backend, Collisions, Writers};

/// Answers compared with the reference's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answers {
    /// Lookups of the load that were compared.
    pub checked: u64,
    /// How many differed for any worker.
    pub wrong: u64,
    /// Lookups of the [collision workload](Collisions).
    pub collisions_checked: u64,
    /// How many of these differed.
    pub collisions_wrong: u64,
}

/// Plays the load to a backend and to the literal reference, in step, and compares every answer.
///
/// The backend is flushed before each lookup, so the comparison is exact: both have seen the same events. It goes on
/// for `budget`, and for one lookup at least: the operations from the beginning of the load, without a gap.
///
/// # Errors
/// [`SweepError::Backend`].
pub fn check(load: &Load, system: System, budget: Duration) -> Result<Answers, SweepError> {
    let writers = Writers { threads: 1, pin: Vec::new() };
    let collisions = Collisions::new();
    let collisions_wrong = collisions.wrong_answers(&*system.open(&writers)?) as u64;
    let backend = system.open(&writers)?;
    let (checked, wrong) = compare(load, &*backend, budget);
    Ok(Answers { checked, wrong, collisions_checked: collisions.queries.len() as u64, collisions_wrong })
}

fn compare(load: &Load, backend: &dyn Backend, budget: Duration) -> (u64, u64) {
    let begin = Instant::now();
    let mut reference = Reference::new();
    let mut reader = backend.reader();
    let mut scores = Vec::new();
    let (mut checked, mut wrong) = (0, 0);
    for event in &load.warm {
        // Events of an export make sense.
        let _ = reference.apply(event);
        backend.apply(event.clone());
    }
    for op in &load.ops {
        match &op.what {
            What::Event(event) => {
                // What one rejects is no part of either's state.
                let _ = reference.apply(event);
                backend.apply(event.clone());
            }
            What::Lookup(query) => {
                backend.flush();
                reader.find(query, &mut scores);
                scores.sort_unstable();
                checked += 1;
                wrong += u64::from(scores != reference.find(query));
                if begin.elapsed() >= budget {
                    break;
                }
            }
        }
    }
    (checked, wrong)
}
