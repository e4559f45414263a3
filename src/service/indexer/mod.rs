//! The service without its server: models, and everything that is kept around them.

mod error;
mod periodic;
mod request_metrics;

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub use error::StartError;
pub(super) use periodic::PeriodicTask;
use request_metrics::RequestMetrics;

use crate::service::budget::Budget;
use crate::service::config::{Access, Config, Secrets};
use crate::service::engines::{Engine, Engines, RegisterError, Selection};
use crate::service::files::Files;
use crate::service::models::Models;
use crate::service::peers::{self, Peers};
use crate::service::snapshot::{SnapshotError, Snapshots};

/// The service without its server: models, and everything that is kept around them.
#[derive(Debug)]
pub struct Indexer {
    config: Config,
    access: Access,
    models: Models,
    metrics: RequestMetrics,
    peers: Peers,
    engines: Engines,
    snapshots: Option<Snapshots>,
    budget: Option<Budget>,
    started: SystemTime,
}

impl Indexer {
    /// Starts the service. When this returns, the state is restored and all engines are listened to.
    ///
    /// # Errors
    /// The snapshot cannot be read or written, an engine cannot be listened to, or threads cannot be started.
    pub(super) fn start(config: Config, secrets: Secrets) -> Result<Arc<Self>, StartError> {
        let Secrets { access, hash_key, peer_token } = secrets;
        let budget = config.memory_budget.map(|limit| Budget::new(limit, config.over_budget));
        let snapshots = config.snapshot.as_deref().map(Snapshots::take).transpose()?;
        let empty = || config.models(hash_key);
        // What this instance heard itself is preferred to what a peer did.
        let restored = match snapshots.as_ref().map(|snapshots| snapshots.restore(empty())).transpose()?.flatten() {
            None => copy_a_peer(&config, peer_token.as_deref(), empty),
            restored => restored,
        };
        let (models, known) = restored.unwrap_or_else(|| (empty(), Vec::new()));
        let engines =
            Engines::start(config.ingest(), Files::share(config.max_connections)).map_err(StartError::Runtime)?;
        let peers = Peers::new(&config.peers);
        let started = SystemTime::now();
        let metrics = RequestMetrics::default();
        let indexer = Self { config, access, models, metrics, peers, engines, snapshots, budget, started };
        for engine in &indexer.config.engines {
            indexer.register(engine.clone())?;
        }
        for engine in known {
            // The configuration may have changed its settings.
            if let Err(error) = indexer.register(engine) {
                tracing::warn!(%error, "an engine of the snapshot or the peer is not listened to");
            }
        }
        Ok(Arc::new(indexer))
    }

    /// Returns its settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Returns all models.
    pub fn models(&self) -> &Models {
        &self.models
    }

    /// Returns the engines that are listened to, as they were registered.
    pub fn engines(&self) -> Vec<Engine> {
        self.engines.all()
    }

    /// Returns how many bytes of engines' messages are in memory.
    pub(super) fn message_bytes(&self) -> usize {
        self.engines.message_bytes()
    }

    /// Listens to an engine. An engine that is registered with the same settings is left alone. If its worker is known
    /// from a snapshot, a peer or events over HTTP, the listener continues from there.
    ///
    /// # Errors
    /// The engine cannot be subscribed to, its model has another block size, or it is registered with other settings.
    pub fn register(&self, engine: Engine) -> Result<(), RegisterError> {
        self.engines.register(&self.models, engine)
    }

    pub(super) fn unregister(&self, selection: Selection<'_>) -> usize {
        self.engines.unregister(&self.models, selection)
    }

    pub(super) fn access(&self) -> &Access {
        &self.access
    }

    pub(super) fn peers(&self) -> &Peers {
        &self.peers
    }

    pub(super) fn metrics(&self) -> &RequestMetrics {
        &self.metrics
    }

    pub(super) fn snapshots(&self) -> Option<&Snapshots> {
        self.snapshots.as_ref()
    }

    /// Takes a snapshot now, if there is a file for it.
    pub(super) fn save(&self) {
        if let Some(snapshots) = &self.snapshots {
            // A failure was logged and counted, and the next attempt may succeed.
            let _ = snapshots.save(&self.models, || self.engines());
        }
    }

    pub(super) fn budget(&self) -> Option<&Budget> {
        self.budget.as_ref()
    }

    /// Enforces the memory budget, if there is one.
    pub(super) fn enforce_budget(&self) {
        if let Some(budget) = &self.budget {
            budget.check(&self.models);
        }
    }

    /// Drops what was copied from a peer and not heard since.
    fn expire_unheard(&self) {
        self.engines.expire_unheard(&self.models);
    }

    /// Starts the threads for what has to be done at intervals.
    pub(super) fn periodic_tasks(self: &Arc<Self>) -> io::Result<Vec<PeriodicTask>> {
        let mut tasks = Vec::new();
        let grace = Duration::from_secs(self.config.grace_seconds.max(1));
        tasks.push(PeriodicTask::start("kvleap-unheard", self, grace, Self::expire_unheard)?);
        if self.snapshots.is_some() {
            let interval = Duration::from_secs(self.config.snapshot_seconds);
            tasks.push(PeriodicTask::start("kvleap-snapshot", self, interval, Self::save)?);
        }
        if self.budget.is_some() {
            tasks.push(PeriodicTask::start("kvleap-budget", self, Budget::INTERVAL, Self::enforce_budget)?);
        }
        Ok(tasks)
    }

    /// Returns when the service started.
    pub(super) fn started(&self) -> SystemTime {
        self.started
    }

    /// Stops listening to the engines, takes the last snapshot, and ends the writers.
    ///
    /// # Errors
    /// The last snapshot could not be taken. Everything else is done all the same.
    pub(super) fn stop(&self) -> Result<(), SnapshotError> {
        // Listed before they are stopped, because afterwards they would be missing from the snapshot.
        let engines = self.engines();
        self.engines.stop();
        let saved = self.snapshots.as_ref().map_or(Ok(()), |snapshots| {
            let saved = snapshots.save(&self.models, || engines.clone());
            snapshots.release();
            saved
        });
        for model in self.models.all().iter() {
            // If a writer died before, that has been reported.
            let _ = model.index().shutdown();
        }
        saved
    }
}

/// Copies the first peer of the configuration that can be copied whole. Returns its models and the engines that it
/// listens to; `None` if there is no such peer, so that the service starts empty.
fn copy_a_peer(config: &Config, token: Option<&str>, empty: impl Fn() -> Models) -> Option<(Models, Vec<Engine>)> {
    let limits = config.copy_limits();
    let others = config.peers.iter().filter(|url| !peers::is_own(url, config.listen));
    others.into_iter().find_map(|url| match peers::copy(url, token, &limits, &empty) {
        Ok((models, engines)) => {
            tracing::info!(peer = url, models = models.all().len(), engines = engines.len(), "copied a peer");
            Some((models, engines))
        }
        Err(error) => {
            tracing::warn!(%error, "a peer could not be copied");
            None
        }
    })
}
