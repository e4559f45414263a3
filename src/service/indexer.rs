//! What the service is made of, whoever asks it.

use std::sync::Arc;
use std::time::SystemTime;

use super::auth::Access;
use super::config::{Config, ConfigError};
use super::metrics::Metrics;
use super::model::Models;

/// Models, and what is kept around them.
#[derive(Debug)]
pub struct Indexer {
    config: Config,
    access: Access,
    models: Models,
    metrics: Metrics,
    started: SystemTime,
}

impl Indexer {
    pub(super) fn start(config: Config) -> Result<Arc<Self>, ConfigError> {
        let access = config.access()?;
        let models = Models::new(config.index());
        Ok(Arc::new(Self { access, models, metrics: Metrics::default(), started: SystemTime::now(), config }))
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

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// When the process began to serve.
    pub(super) fn started(&self) -> SystemTime {
        self.started
    }

    /// Leaves the engines, and applies what they have said.
    pub(super) fn stop(&self) {
        for model in self.models.all().iter() {
            // A writer that died has been reported.
            let _ = model.index().shutdown();
        }
    }
}
