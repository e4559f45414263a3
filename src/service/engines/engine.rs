//! What the service has to know of an engine to listen to it.

use serde::{Deserialize, Serialize};

use crate::event::Worker;
use crate::service::ingest::Source;
use crate::service::models::Key;
use crate::service::publisher::Copies;
use crate::service::tier::MAX_RANK;

/// A publisher of events: one data-parallel rank of an engine. An entry in the configuration file, and the body of
/// `POST /register`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Engine {
    /// Its name in answers.
    pub instance_id: u64,
    /// Where it publishes, as in `tcp://10.0.0.1:5557`.
    pub endpoint: String,
    /// The model it serves.
    pub model_name: String,
    /// Engines whose blocks may stand in for each other's.
    #[serde(default = "default_group")]
    pub routing_group: String,
    /// The tenant whose requests see it; empty or `default` for requests that name none.
    #[serde(default)]
    pub tenant_id: String,
    /// Tokens in its blocks.
    pub block_size: u32,
    /// Its data-parallel rank. If it is not 0, all its batches are applied to this rank, whatever rank they name.
    #[serde(default)]
    pub dp_rank: u32,
    /// Where it can be asked for batches that were missed.
    #[serde(default)]
    pub replay_endpoint: Option<String>,
    /// The prefix of the topics to subscribe to; empty for all.
    #[serde(default)]
    pub topic: String,
    /// Whether the engine connects to `endpoint`, so that the service has to listen there.
    #[serde(default)]
    pub bind: bool,
    /// What it means when it stores a block that it has stored already.
    #[serde(default)]
    pub copies: Copies,
}

fn default_group() -> String {
    Key::DEFAULT_GROUP.to_owned()
}

impl Engine {
    /// Returns the key of the index that its events go to.
    pub fn key(&self) -> Key {
        let tenant = Key::tenant(&self.tenant_id).to_owned();
        Key { model: self.model_name.clone(), group: self.routing_group.clone(), tenant }
    }

    /// Returns the worker that it speaks for, unless its batches name another.
    pub fn worker(&self) -> Worker {
        Worker::new(self.instance_id, self.dp_rank)
    }

    /// Returns where it publishes.
    pub fn source(&self) -> Source {
        Source {
            endpoint: self.endpoint.clone(),
            replay: self.replay_endpoint.clone(),
            topic: self.topic.clone(),
            bind: self.bind,
        }
    }

    /// Checks that it can be subscribed to.
    ///
    /// # Errors
    /// An endpoint is not one of ZMQ, or a number is out of range.
    pub fn check(&self) -> Result<(), EngineError> {
        let bad = |field, why| Err(EngineError { instance: self.instance_id, field, why });
        let endpoint = |at: &str| {
            let place = at.strip_prefix("tcp://").map(|at| at.rsplit_once(':'));
            let port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
            place.map_or(at.strip_prefix("ipc://").is_some_and(|path| !path.is_empty()), |place| {
                place.is_some_and(|(host, at)| !host.is_empty() && port(at))
            })
        };
        if !endpoint(&self.endpoint) {
            return bad("endpoint", "is not like tcp://host:port or ipc://path");
        }
        if self.replay_endpoint.as_deref().is_some_and(|at| !endpoint(at)) {
            return bad("replay_endpoint", "is not like tcp://host:port or ipc://path");
        }
        if self.block_size == 0 {
            return bad("block_size", "is 0; give the engine's own, often 16 or 64");
        }
        if self.dp_rank > MAX_RANK {
            return bad("dp_rank", "is 2^28 or more");
        }
        if self.model_name.is_empty() {
            return bad("model_name", "is empty");
        }
        Ok(())
    }
}

/// Why an engine cannot be subscribed to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("engine {instance}: {field} {why}")]
pub struct EngineError {
    instance: u64,
    field: &'static str,
    why: &'static str,
}
