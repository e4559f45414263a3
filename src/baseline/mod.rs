//! Other ways to hold the same index, to judge and to compare with.
//!
//! [`reference`](mod@reference) is the contract, word for word. Everything else is behind one trait, [`Backend`], that
//! the engine implements, too: the reference again, an index that does nothing, and six historic designs.
//! [`Design::open`] makes one.

pub mod reference;

mod locked;
mod model;
mod null;

use std::fmt;
use std::io;

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

/// The backends to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Design {
    /// The literal [`Reference`](reference::Reference) behind a lock.
    Reference,
    /// Nothing at all: forgets events and finds nobody. What the caller itself costs.
    Null,
}

/// The threads by which a design applies events.
#[derive(Clone, Debug, Default)]
pub struct Writers {
    /// How many, where the design can use more than one; 0 is taken for 1. Default 0.
    pub threads: usize,
    /// Cores to pin them to: thread i to `pin[i % len]`. Default empty: not pinned.
    pub pin: Vec<usize>,
}

impl Design {
    /// Every design.
    pub const ALL: [Self; 2] = [Self::Reference, Self::Null];

    /// How tables and charts call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reference => "reference",
            Self::Null => "null",
        }
    }

    /// An empty index. Dropping it ends its threads and waits for them; events that still wait are dropped, too.
    ///
    /// # Errors
    /// A thread could not be started.
    pub fn open(self, _writers: &Writers) -> io::Result<Box<dyn Backend>> {
        Ok(match self {
            Self::Reference => Box::new(locked::Locked::<reference::Reference>::new(self.name())),
            Self::Null => Box::new(null::Null),
        })
    }
}

impl fmt::Display for Design {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
