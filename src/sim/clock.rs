//! The virtual clock: the pending occurrences of a discrete-event simulation, in order of time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Something that happens. Occurrences at the same time happen in the order of these variants and their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Occurrence {
    /// The current step of a worker ends, unless the worker has died since and is in another `life`.
    StepEnds { worker: u32, life: u32 },
    /// Events of a worker reach the router.
    Heard { worker: u32 },
    /// An incident befalls a worker.
    Incident(u32),
    /// A request arrives.
    Comes(u32),
}

#[derive(Debug, Default)]
pub(super) struct Clock {
    ahead: BinaryHeap<Reverse<(u64, Occurrence)>>,
}

impl Clock {
    pub(super) fn at(&mut self, at_ns: u64, occurrence: Occurrence) {
        self.ahead.push(Reverse((at_ns, occurrence)));
    }

    /// Returns the next occurrence and its time.
    pub(super) fn next(&mut self) -> Option<(u64, Occurrence)> {
        self.ahead.pop().map(|Reverse(next)| next)
    }
}
