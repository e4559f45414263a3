//! The snapshots of a running service: one is restored at the start, and others are saved at intervals and at shutdown.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use super::claim::Claim;
use super::error::{Reason, SnapshotError};
use super::reader::Reader;
use super::state::{Saved, read, save_with};
use crate::service::engines::Engine;
use crate::service::models::Models;

/// The file of the snapshots, and what became of the last one.
#[derive(Debug)]
pub(in crate::service) struct Snapshots {
    file: Claim,
    last: Mutex<Last>,
}

/// What became of the snapshots of this process.
#[derive(Clone, Debug, Default)]
pub(in crate::service) struct Last {
    /// The last one that was saved, and when.
    pub(in crate::service) saved: Option<(Saved, SystemTime)>,
    /// Why the one after it could not be saved.
    pub(in crate::service) error: Option<String>,
    /// How many could not be saved.
    pub(in crate::service) failures: u64,
}

impl Snapshots {
    /// Takes the file for this process.
    ///
    /// # Errors
    /// No snapshot can be written there, or another process writes its own there.
    pub(in crate::service) fn take(path: &Path) -> Result<Self, SnapshotError> {
        Ok(Self { file: Claim::take(path)?, last: Mutex::default() })
    }

    /// Restores what the last process saved. Returns `None` for a cold start: there is no snapshot, or it cannot be
    /// used. Such a file is put aside, so that the next snapshot does not replace it.
    ///
    /// # Errors
    /// There may be a snapshot, but it cannot be opened or put aside, and would be replaced.
    pub(in crate::service) fn restore(&self, empty: Models) -> Result<Option<(Models, Vec<Engine>)>, SnapshotError> {
        let (path, began) = (self.file.path(), Instant::now());
        let file = match File::open(path).and_then(|file| Ok((file.metadata()?.len(), file))) {
            Ok((1.., file)) => file,
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(SnapshotError { path: path.to_owned(), reason: Reason::Unreadable(error) });
            }
            _ => {
                tracing::info!(path = %path.display(), "no snapshot yet: a cold start");
                return Ok(None);
            }
        };
        match Reader::new(path, file).and_then(|reader| read(reader, empty)) {
            Ok((models, engines)) => {
                let (models_count, took) = (models.all().len(), began.elapsed());
                tracing::info!(path = %path.display(), models = models_count, ?took, "restored a snapshot");
                Ok(Some((models, engines)))
            }
            Err(refused) => {
                let unwritable = |error| SnapshotError { path: path.to_owned(), reason: Reason::Unwritable(error) };
                let kept = self.file.put_aside().map_err(unwritable)?;
                tracing::error!(error = %refused, kept = %kept.display(), "a cold start");
                Ok(None)
            }
        }
    }

    /// Saves a snapshot now.
    ///
    /// # Errors
    /// It could not be saved, which was logged and counted. The previous snapshot is kept.
    pub(in crate::service) fn save(
        &self,
        models: &Models,
        engines: impl Fn() -> Vec<Engine>,
    ) -> Result<(), SnapshotError> {
        let result = save_with(self.file.path(), models, engines);
        let mut last = self.last();
        match &result {
            Ok(saved) => {
                tracing::info!(blocks = saved.blocks, bytes = saved.bytes, took = ?saved.took, "saved a snapshot");
                last.saved = Some((*saved, SystemTime::now()));
                last.error = None;
            }
            Err(error) => {
                tracing::error!(%error, "no snapshot was saved");
                last.error = Some(error.to_string());
                last.failures += 1;
            }
        }
        result.map(drop)
    }

    /// Gives the file up, so that another process can take it.
    pub(in crate::service) fn release(&self) {
        self.file.release();
    }

    pub(in crate::service) fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
