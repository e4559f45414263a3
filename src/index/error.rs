//! Why something was not accepted, or not answered.
//!
//! The messages are written by hand, here and in the other modules of the default build, so that it needs no procedural
//! macro.

use std::fmt;

use crate::event::Event;

/// Why an event was rejected. A rejected event changes nothing, except after a [`Collision`](Rejection::Collision), which
/// ends it in the middle. Each kind is counted in the worker's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rejection {
    /// The worker was removed and not added again.
    WorkerRemoved,
    /// The worker is new, and the shard has [`Builder::max_workers`](crate::Builder::max_workers) already.
    TooManyWorkers,
    /// The event names no block.
    Empty,
    /// A block has the same sequence hash as the block before it.
    SelfParent,
    /// The worker does not hold the parent, so it is unknown where the blocks belong.
    UnknownParent,
    /// A block's position is at or beyond the limit ([`Builder::max_positions`](crate::Builder::max_positions)).
    TooDeep,
    /// A block's prefix has the prefix hash of another stored prefix, which is [all but impossible](crate#exactness). The
    /// blocks before it are stored. It and the blocks after it are not, and the worker no longer holds them anywhere. What
    /// is stored under the other prefix is not affected.
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

    /// The kind's name in reports and metrics, such as `unknown_parent`.
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
            Self::Collision => "a prefix has the prefix hash of another one; its block and those after it are left out",
        })
    }
}

impl std::error::Error for Rejection {}

/// The index takes no more events: it was shut down, one of its writers died, or this process is a fork of the one that
/// built it. Lookups are still answered, from the last snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

/// An event that was not accepted, because the index was shut down or its writer died.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendError(pub Event);

/// An event that was not accepted, by reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrySendError {
    /// The mailbox is full. Try again later, or let [`Index::send`](crate::Index::send) wait.
    Full(Event),
    /// The index was shut down, or its writer died.
    Closed(Event),
}

/// Why an import is not complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportError {
    /// The index was shut down, or a writer died.
    Closed,
    /// An event was rejected.
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
            Self::Rejected(rejection) => write!(f, "an event of the import was rejected: {rejection}"),
        }
    }
}

impl std::error::Error for Closed {}
impl std::error::Error for SendError {}
impl std::error::Error for TrySendError {}
impl std::error::Error for ImportError {}
