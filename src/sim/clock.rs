//! The virtual clock: what happens next.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What happens. Of several things at one moment, in this order, and by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Occurrence {
    /// The step under way ends at a worker, if it is still in its `life`.
    StepEnds { worker: u32, life: u32 },
    /// The router hears what a worker said.
    Heard { worker: u32 },
    /// Something happens to a worker.
    Incident(u32),
    /// A request comes.
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

    /// The next thing that happens, and when.
    pub(super) fn next(&mut self) -> Option<(u64, Occurrence)> {
        self.ahead.pop().map(|Reverse(next)| next)
    }
}
