//! Snapshots: the state of all indexes, in a file so that a restart begins where the last process ended, or in the
//! answer to another instance that begins as a copy of this one.
//!
//! [`save`] and [`restore`] are for a whole service; [`Writer`] and [`Reader`] are the bytes alone, record by record.

mod error;
mod file;
mod format;
mod lifetime;
mod state;

pub use error::{Reason, SnapshotError};
pub use file::{Reader, Replacement, Writer};
pub use format::{Header, Record, SavedModel, SavedPublisher};
pub(super) use lifetime::Snapshots;
pub use state::{Saved, restore, save};
pub(super) use state::{read, write};
