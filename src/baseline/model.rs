//! A design as a plain state machine, without a thread or a lock.

use crate::baseline::reference::Reference;
use crate::{Event, Rejection, Worker};

/// What a design makes of events and queries. A lock, an actor or a pool makes a [`Backend`](super::Backend) of it.
pub(super) trait Model: Default {
    /// Applies one event, or changes nothing and says why.
    fn apply(&mut self, event: &Event) -> Result<(), Rejection>;

    /// Adds the depth of every worker that holds the query's first block to `scores`, which is empty.
    fn find(&self, query: &[u64], scores: &mut Vec<(Worker, u32)>);
}

impl Model for Reference {
    fn apply(&mut self, event: &Event) -> Result<(), Rejection> {
        self.apply(event)
    }

    fn find(&self, query: &[u64], scores: &mut Vec<(Worker, u32)>) {
        scores.extend(self.find(query));
    }
}
