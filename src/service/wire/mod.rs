//! Decoding what engines publish: batches of events in msgpack, in every documented version.
//!
//! A batch is `[time, events]`, `[time, events, rank]`, or a map with these. An event is an array that begins with its
//! tag, or a map with its tag under `type`; each event may be either. Integers and headers may have any width, and keys
//! any order. Unknown keys, tags and trailing elements are skipped. If a known field has a form that no version has,
//! its event is malformed, which does not affect the others. Only bytes that are not msgpack, or not a batch, are an
//! error.
//!
//! Decoding does not trust declared lengths: it allocates at most [`MAX_EXPANSION`] times the size of the input, and
//! nesting costs nothing. It knows no network and no index.

mod batch;
mod columns;
mod error;
mod event;
mod read;
mod value;

pub use batch::{Batch, MAX_EXPANSION};
pub(super) use columns::Extra;
pub use error::Error;
pub(super) use event::{Event, Location, Stored};
