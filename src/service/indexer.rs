//! What the service is made of, whoever asks it.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::auth::Access;
use super::budget::Budget;
use super::config::{Config, ConfigError};
use super::engine::Engine;
use super::engines::{Engines, RegisterError, Selection};
use super::model::Models;
use super::peers::{self, Peers};
use super::periodic::Periodic;
use super::request_metrics::RequestMetrics;
use super::server::StartError;
use super::snapshot::Snapshots;

/// Models, and what is kept around them.
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
    /// All is set up and warm when it returns.
    ///
    /// # Errors
    /// A token that cannot be used, an engine that cannot be listened to, or no threads.
    pub(super) fn start(config: Config) -> Result<Arc<Self>, StartError> {
        let access = config.access()?;
        let budget = config.memory_budget.map(|limit| Budget::new(limit, config.over_budget));
        let snapshots = config.snapshot.clone().map(Snapshots::new);
        let key = config.hash_key()?;
        let empty = || config.models(key);
        // What this instance heard itself goes before what others did.
        let restored = match snapshots.as_ref().and_then(|snapshots| snapshots.restore(empty())) {
            None => copy_a_peer(&config, empty)?,
            restored => restored,
        };
        let (models, known) = restored.unwrap_or_else(|| (empty(), Vec::new()));
        let engines = Engines::start(config.ingest()).map_err(StartError::Runtime)?;
        let peers = Peers::new(&config.peers);
        let started = SystemTime::now();
        let metrics = RequestMetrics::default();
        let indexer = Self { config, access, models, metrics, peers, engines, snapshots, budget, started };
        for engine in &indexer.config.engines {
            indexer.register(engine.clone()).map_err(StartError::Engine)?;
        }
        for engine in known {
            // The configuration may have moved it.
            if let Err(error) = indexer.register(engine) {
                tracing::warn!(%error, "an engine of the snapshot or the peer is not listened to");
            }
        }
        Ok(Arc::new(indexer))
    }

    /// Its settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// All indexes.
    pub fn models(&self) -> &Models {
        &self.models
    }

    /// The engines that are listened to, as they were registered.
    pub fn engines(&self) -> Vec<Engine> {
        self.engines.all()
    }

    /// Listens to an engine. One that is known in all particulars is left alone; what is known of its worker from
    /// elsewhere (a snapshot, a peer, events over HTTP) is where the listener goes on.
    ///
    /// # Errors
    /// The engine makes no sense, its model has another block size, or its name is taken.
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

    /// Takes a snapshot now, if there is a place for one.
    pub(super) fn save(&self) {
        if let Some(snapshots) = &self.snapshots {
            snapshots.save(&self.models, || self.engines());
        }
    }

    pub(super) fn budget(&self) -> Option<&Budget> {
        self.budget.as_ref()
    }

    /// Sees to the memory budget, if there is one.
    pub(super) fn keep_budget(&self) {
        if let Some(budget) = &self.budget {
            budget.check(&self.models);
        }
    }

    /// Drops what was copied from a peer and has not been heard of since.
    fn expire_unheard(&self) {
        self.engines.expire_unheard(&self.models);
    }

    /// What has to be done now and again.
    pub(super) fn schedules(self: &Arc<Self>) -> io::Result<Vec<Periodic>> {
        let mut schedules = Vec::new();
        let grace = Duration::from_secs(self.config.grace_seconds.max(1));
        schedules.push(Periodic::start("kvleap-unheard", self, grace, Self::expire_unheard)?);
        if self.snapshots.is_some() {
            let interval = Duration::from_secs(self.config.snapshot_seconds);
            schedules.push(Periodic::start("kvleap-snapshot", self, interval, Self::save)?);
        }
        if self.budget.is_some() {
            schedules.push(Periodic::start("kvleap-budget", self, Budget::INTERVAL, Self::keep_budget)?);
        }
        Ok(schedules)
    }

    /// When the process began to serve.
    pub(super) fn started(&self) -> SystemTime {
        self.started
    }

    /// Leaves the engines, applies what they have said, and takes the last snapshot.
    pub(super) fn stop(&self) {
        // Gone from the list, they would not be in the snapshot.
        let engines = self.engines();
        self.engines.stop();
        if let Some(snapshots) = &self.snapshots {
            snapshots.save(&self.models, || engines.clone());
        }
        for model in self.models.all().iter() {
            // A writer that died has been reported.
            let _ = model.index().shutdown();
        }
    }
}

/// All that the first peer of the configuration has that gives it whole, and the engines that it listens to. Without one,
/// the service starts cold.
fn copy_a_peer(config: &Config, empty: impl Fn() -> Models) -> Result<Option<(Models, Vec<Engine>)>, ConfigError> {
    let token = config.peer_token()?;
    for url in &config.peers {
        match peers::copy(url, token.as_deref(), &empty) {
            Ok((models, engines)) => {
                tracing::info!(peer = url, models = models.all().len(), engines = engines.len(), "copied a peer");
                return Ok(Some((models, engines)));
            }
            Err(error) => tracing::warn!(%error, "a peer could not be copied"),
        }
    }
    Ok(None)
}
