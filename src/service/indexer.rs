//! What the service is made of, whoever asks it.

use std::sync::Arc;

use super::auth::Access;
use super::config::{Config, ConfigError};
use super::metrics::Metrics;
use super::model::Models;
use super::peers::{self, Peers};

/// Models, and what is kept around them.
#[derive(Debug)]
pub struct Indexer {
    config: Config,
    access: Access,
    models: Models,
    metrics: Metrics,
    peers: Peers,
}

impl Indexer {
    /// All is set up and warm when it returns.
    pub(super) fn start(config: Config) -> Result<Arc<Self>, ConfigError> {
        let access = config.access()?;
        let models = Models::new(config.index());
        let peers = Peers::new(&config.peers);
        let indexer = Self { access, models, metrics: Metrics::default(), peers, config };
        indexer.copy_a_peer()?;
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
    pub(super) fn stop(&self) {
        for model in self.models.all().iter() {
            // A writer that died has been reported.
            let _ = model.index().shutdown();
        }
    }
}
