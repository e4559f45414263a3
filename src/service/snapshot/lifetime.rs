//! The snapshots of a running service: one is restored at the start, and others are saved at intervals and at shutdown.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};
use std::{fs, io};

use super::error::{Reason, SnapshotError};
use super::state::{Saved, restore, save_with};
use super::writer::with_suffix;
use crate::service::engines::Engine;
use crate::service::models::Models;

/// The file of the snapshots, and what became of the last one.
#[derive(Debug)]
pub(in crate::service) struct Snapshots {
    path: PathBuf,
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
    pub(in crate::service) fn new(path: PathBuf) -> Self {
        Self { path, last: Mutex::default() }
    }

    /// Restores what the last process saved. Returns `None` for a cold start: there is no snapshot, or it cannot be
    /// used. Such a file is renamed, with `.refused` behind its name, so that the next snapshot does not replace it.
    pub(in crate::service) fn restore(&self, empty: Models) -> Option<(Models, Vec<Engine>)> {
        let began = Instant::now();
        match restore(&self.path, empty) {
            Ok((models, engines)) => {
                let (models_count, took) = (models.all().len(), began.elapsed());
                tracing::info!(path = %self.path.display(), models = models_count, ?took, "restored a snapshot");
                Some((models, engines))
            }
            Err(SnapshotError { reason: Reason::Unreadable(error), .. }) if error.kind() == io::ErrorKind::NotFound => {
                tracing::info!(path = %self.path.display(), "no snapshot yet: a cold start");
                None
            }
            Err(error) => {
                let aside = with_suffix(&self.path, ".refused");
                let kept = fs::rename(&self.path, &aside);
                tracing::error!(%error, kept = kept.is_ok().then(|| aside.display().to_string()), "a cold start");
                None
            }
        }
    }

    /// Saves a snapshot now. A failure is logged, and the previous snapshot is kept.
    pub(in crate::service) fn save(&self, models: &Models, engines: impl Fn() -> Vec<Engine>) {
        let result = save_with(&self.path, models, engines);
        let mut last = self.last();
        match result {
            Ok(saved) => {
                tracing::info!(blocks = saved.blocks, bytes = saved.bytes, took = ?saved.took, "saved a snapshot");
                last.saved = Some((saved, SystemTime::now()));
                last.error = None;
            }
            Err(error) => {
                tracing::error!(%error, "no snapshot was saved");
                last.error = Some(error.to_string());
                last.failures += 1;
            }
        }
    }

    pub(in crate::service) fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
