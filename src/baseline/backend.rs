//! What an index can do, as whoever compares indexes sees it.

use std::fmt;

use crate::{Event, Worker};

/// An index of a fleet, as whoever feeds, asks and measures it sees it.
///
/// Any number of threads may apply events and look up at once. Events of one worker are applied in the order in which
/// they were handed over, as long as one thread at a time hands them over; those of different workers are in no order.
pub trait Backend: fmt::Debug + Send + Sync {
    /// How tables and charts call it.
    fn name(&self) -> &'static str;

    /// Hands an event over. Whether it is applied on return is the backend's business; one with a bounded queue waits
    /// while that is full.
    fn apply(&self, event: Event);

    /// What one thread looks up with: its room for questions and answers, to be kept.
    fn reader(&self) -> Box<dyn Reader + Send + '_>;

    /// Returns when lookups see every event that was handed over before the call.
    fn flush(&self);

    /// How many events wait to be applied; those at hand, one a thread, may be missing.
    fn queued(&self) -> usize;

    /// How many events were rejected so far: they changed nothing.
    fn rejected(&self) -> u64;
}

/// The half of a [`Backend`] that is asked, by one thread.
pub trait Reader {
    /// Replaces what is in `scores` by the depth of every worker that holds the first block of the prompt with these
    /// local hashes: how many of its leading blocks, in any order.
    fn find(&mut self, query: &[u64], scores: &mut Vec<(Worker, u32)>);
}
