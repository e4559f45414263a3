//! Snapshots: the state of all indexes in a file, so that a restart begins where the last one ended.
//!
//! [`save`] and [`restore`] are for a whole service; [`Writer`] and [`Reader`] are the file alone, record by record.

mod error;
mod file;
mod format;
mod lifetime;
mod state;

pub use error::{Reason, SnapshotError};
pub use file::{Reader, Writer};
pub use format::{Header, Record, SavedModel, SavedRank};
pub(super) use lifetime::Snapshots;
pub(super) use state::strangers;
pub use state::{Saved, restore, save};
