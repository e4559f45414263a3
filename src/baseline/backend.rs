//! The interface of an index that is measured or compared.

use std::fmt;

use crate::event::{Event, Worker};

/// An index of a fleet that can be fed, queried and measured.
///
/// Any number of threads may apply events and look up at once. The events of one worker are applied in the order in which
/// they were handed over, as long as one thread at a time hands them over. There is no order between workers.
pub trait Backend: fmt::Debug + Send + Sync {
    /// Returns its name in tables and charts.
    fn name(&self) -> &'static str;

    /// Hands an event over, which may be applied later. A backend with a bounded queue waits while that is full.
    fn apply(&self, event: Event);

    /// Returns what one thread looks up with. It has buffers, and should be kept.
    fn reader(&self) -> Box<dyn Reader + Send + '_>;

    /// Waits until lookups see every event that was handed over before the call.
    fn flush(&self);

    /// Returns how many events wait to be applied. The one that each thread is applying may not be counted.
    fn queued(&self) -> usize;

    /// Returns how many events were rejected so far, and changed nothing.
    fn rejected(&self) -> u64;
}

/// The part of a [`Backend`] with which one thread looks up.
pub trait Reader {
    /// Looks up a prompt by its local hashes. Fills `scores` with how many of its leading blocks each worker holds, in any
    /// order, without the workers that hold none.
    fn find(&mut self, query: &[u64], scores: &mut Vec<(Worker, u32)>);
}
