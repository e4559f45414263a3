//! What engines publish: batches of events in msgpack, in every documented version.
//!
//! A batch is `[time, events]`, `[time, events, rank]` or a map with these; an event is an array with its tag first, or a
//! map with its tag under `type`, decided event by event. Integers and headers may have any width, keys any order;
//! unknown keys, tags and trailing elements are passed over. What a known field has in a form that no version has makes
//! its event malformed, which leaves the others alone; only what is no msgpack, or no batch, is an error.
//!
//! Decoding believes no declared length: what it allocates is at most [`MAX_EXPANSION`] times the size of the input, and
//! nesting costs nothing. It knows no network and no index.

mod batch;
mod event;
mod read;
mod value;

use std::fmt;

pub use batch::{Batch, MAX_EXPANSION};
pub(super) use event::{Event, Extra, Location, Stored};

/// Why bytes are no batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The value that begins here goes on beyond the end.
    Truncated {
        /// Bytes before the value.
        at: usize,
    },
    /// The value that begins here is something else.
    Expected {
        /// Bytes before the value.
        at: usize,
        /// What should be there.
        expected: &'static str,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { at } => {
                write!(f, "the msgpack value at byte {at} goes on beyond the end; send the batch whole")
            }
            Self::Expected { at, expected } => write!(f, "expected {expected} at byte {at}"),
        }
    }
}

impl std::error::Error for Error {}
