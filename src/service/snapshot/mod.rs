//! Snapshots: the state of all indexes in a file, so that a restart continues where the last process ended, or in an
//! answer to another instance that starts as a copy of this one.
//!
//! [`save`] and [`restore`] are for a whole service; `Writer` and `Reader` handle records alone.

mod claim;
mod error;
mod format;
mod lifetime;
mod limited;
mod preamble;
mod reader;
mod state;
mod writer;

pub(super) use claim::check;
pub use error::{Reason, SnapshotError};
#[doc(hidden)] // Public only for tests and fuzz targets, which read and write records.
pub use format::{Header, Record, SavedModel, SavedPublisher};
pub(super) use lifetime::Snapshots;
pub(super) use limited::Limited;
#[doc(hidden)] // Like the records.
pub use reader::Reader;
pub use state::{Saved, restore, save};
#[doc(hidden)] // Public only for fuzz targets, which keep snapshots in memory.
pub use state::{read, write};
#[doc(hidden)] // Like the records.
pub use writer::{Replacement, Writer};
