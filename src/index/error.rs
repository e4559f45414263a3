//! Why something was not accepted, or not answered.

use std::fmt;

use super::shard::Rejection;
use crate::event::Event;

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
