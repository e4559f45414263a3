//! Snapshots: the state of all indexes in a file, so that a restart begins where the last one ended.

mod error;
mod file;
mod format;

pub use error::{Reason, SnapshotError};
pub use file::{Reader, Writer};
pub use format::{Header, Record, SavedModel, SavedRank};
