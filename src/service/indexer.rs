//! What the service is made of, whoever asks it.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::auth::Access;
use super::config::{Config, ConfigError, Engine};
use super::engines::{Engines, RegisterError, Selection};
use super::metrics::Metrics;
use super::model::Models;
use super::peers::{self, Peers};
use super::server::StartError;

/// Models, and what is kept around them.
#[derive(Debug)]
pub struct Indexer {
    config: Config,
    access: Access,
    models: Models,
    metrics: Metrics,
    peers: Peers,
    engines: Engines,
}

impl Indexer {
    /// All is set up and warm when it returns.
    ///
    /// # Errors
    /// A token that cannot be used, an engine that cannot be listened to, or no threads.
    pub(super) fn start(config: Config) -> Result<Arc<Self>, StartError> {
        let access = config.access()?;
        let models = Models::new(config.index(), config.max_models);
        let engines = Engines::start(config.ingest()).map_err(StartError::Runtime)?;
        let peers = Peers::new(&config.peers);
        let indexer = Self { access, models, metrics: Metrics::default(), peers, engines, config };
        indexer.copy_a_peer()?;
        for engine in &indexer.config.engines {
            indexer.register(engine.clone()).map_err(StartError::Engine)?;
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

    pub(super) fn unregister(&self, selection: Selection<'_>, handle: &Handle) -> usize {
        self.engines.unregister(&self.models, selection, handle)
    }

    pub(super) fn access(&self) -> &Access {
        &self.access
    }

    pub(super) fn peers(&self) -> &Peers {
        &self.peers
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// From the first peer of the configuration that gives all it has. Without one, the service starts cold.
    fn copy_a_peer(&self) -> Result<(), ConfigError> {
        let token = self.config.peer_token()?;
        for url in &self.config.peers {
            match peers::copy(url, token.as_deref(), &self.models) {
                Ok(copied) => {
                    tracing::info!(peer = url, models = copied.models, blocks = copied.blocks, "copied a peer");
                    break;
                }
                Err(error) => tracing::warn!(%error, "a peer could not be copied"),
            }
        }
        Ok(())
    }

    /// Leaves the engines, and applies what they have said.
    pub(super) fn stop(&self, handle: &Handle) {
        self.engines.stop(handle);
        for model in self.models.all().iter() {
            // A writer that died has been reported.
            let _ = model.index().shutdown();
        }
    }
}
