//! Why something was not accepted, or not answered.

use std::fmt;

use crate::event::Event;

/// Why an event changed nothing; after a [`Collision`](Rejection::Collision), why it was applied only in part. Each kind
/// is counted in the worker's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rejection {
    /// The worker was removed and not added again.
    WorkerRemoved,
    /// The worker is new, and there are as many as the limit allows
    /// ([`Builder::max_workers`](crate::Builder::max_workers)).
    TooManyWorkers,
    /// The event names no block.
    Empty,
    /// A block's sequence hash is also that of the block before it.
    SelfParent,
    /// The worker does not hold the parent, so nobody can tell where the blocks belong.
    UnknownParent,
    /// A block's position is at or beyond the limit ([`Builder::max_positions`](crate::Builder::max_positions)).
    TooDeep,
    /// A block's prefix has the fingerprint of another prefix that is stored, which is [as good as
    /// impossible](crate#exactness). The blocks before it are stored; it and those after it are not, and the worker no
    /// longer holds them anywhere. Nothing that is stored under the other prefix is harmed.
    Collision,
}

impl Rejection {
    /// All kinds, in the order in which an event is checked.
    pub const ALL: [Self; 7] = [
        Self::WorkerRemoved,
        Self::TooManyWorkers,
        Self::Empty,
        Self::SelfParent,
        Self::UnknownParent,
        Self::TooDeep,
        Self::Collision,
    ];

    /// The kind's name, as in reports: `unknown_parent`.
    pub fn name(self) -> &'static str {
        match self {
            Self::WorkerRemoved => "worker_removed",
            Self::TooManyWorkers => "too_many_workers",
            Self::Empty => "empty",
            Self::SelfParent => "self_parent",
            Self::UnknownParent => "unknown_parent",
            Self::TooDeep => "too_deep",
            Self::Collision => "collision",
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WorkerRemoved => "the worker was removed; add it again first",
            Self::TooManyWorkers => "the shard has as many workers as max_workers allows",
            Self::Empty => "the event names no block",
            Self::SelfParent => "a block is its own parent",
            Self::UnknownParent => "the worker does not hold the parent block",
            Self::TooDeep => "a block's position is at or beyond max_positions",
            Self::Collision => "a prefix has the fingerprint of another one; it is left out, with what follows it",
        })
    }
}

impl std::error::Error for Rejection {}

/// The index was shut down, or a writer of it died. Lookups go on with the last snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

/// The index takes no more events: it was shut down, or its writer died. Here is the event back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendError(pub Event);

/// Why an event could not be handed over at once. Here it is back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrySendError {
    /// The writer has not caught up; try again, or let [`Index::send`](crate::Index::send) wait.
    Full(Event),
    /// The index was shut down, or its writer died.
    Closed(Event),
}

/// Why an import is not complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportError {
    /// The index was shut down, or a writer died.
    Closed,
    /// An event changed nothing.
    Rejected(Rejection),
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the index was shut down or its writer died; lookups go on with the last snapshot")
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "event {} of worker {} was not accepted: {Closed}", self.0.id, self.0.worker)
    }
}

impl fmt::Display for TrySendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(event) => {
                write!(f, "event {} of worker {} was not accepted: the mailbox is full", event.id, event.worker)
            }
            Self::Closed(event) => SendError(event.clone()).fmt(f),
        }
    }
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => Closed.fmt(f),
            Self::Rejected(rejection) => write!(f, "an event of the import changed nothing: {rejection}"),
        }
    }
}

impl std::error::Error for Closed {}
impl std::error::Error for SendError {}
impl std::error::Error for TrySendError {}
impl std::error::Error for ImportError {}
