//! Comparing a backend's answers with the reference model's, in a pass of its own in which nothing is timed.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Load, SweepError, System, What};
use crate::baseline::reference::Reference;
use crate::baseline::{Backend, Collisions, Writers};

/// How many answers were compared with the reference model's, and how many were wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answers {
    /// Lookups of the load that were compared.
    pub checked: u64,
    /// How many of these were wrong about at least one worker.
    pub wrong: u64,
    /// Lookups of the [collision workload](Collisions) that were compared.
    pub collisions_checked: u64,
    /// How many of these were wrong.
    pub collisions_wrong: u64,
}

/// Plays the load to a backend and to the reference model in step, and compares every answer.
///
/// The backend is flushed before each lookup, so that both have seen the same events and the comparison is exact. The
/// operations are taken from the beginning of the load, without a gap, until `budget` is used up; at least one lookup is
/// compared.
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
        // The events of an export are never rejected.
        let _ = reference.apply(event);
        backend.apply(event.clone());
    }
    for op in &load.ops {
        match &op.what {
            What::Event(event) => {
                // A rejected event changes the state of neither.
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
