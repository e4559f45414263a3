//! Snapshots over the life of a service: one is read at the start, then one is written now and again, and at the end.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};
use std::{fs, io};

use super::error::{Reason, SnapshotError};
use super::file::with_suffix;
use super::state::{Saved, restore, save_with};
use crate::service::engine::Engine;
use crate::service::model::Models;

/// Where snapshots are, and what became of the last one.
#[derive(Debug)]
pub(in crate::service) struct Snapshots {
    path: PathBuf,
    last: Mutex<Last>,
}

/// What became of the snapshots of this process.
#[derive(Clone, Debug, Default)]
pub(in crate::service) struct Last {
    /// The last one that is complete, and when it was.
    pub(in crate::service) saved: Option<(Saved, SystemTime)>,
    /// Why the one after it is not there.
    pub(in crate::service) error: Option<String>,
    /// How many are not there.
    pub(in crate::service) failures: u64,
}

impl Snapshots {
    pub(in crate::service) fn new(path: PathBuf) -> Self {
        Self { path, last: Mutex::default() }
    }

    /// What the last process left. `None` is a cold start: there is nothing, or nothing that can be used. That is put
    /// aside then, under the same name with `.refused` behind it, so that the next snapshot does not replace it.
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

    /// Writes one now. A failure is logged, and the snapshot of before is kept.
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
