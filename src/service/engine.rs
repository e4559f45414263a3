//! What has to be known of an engine to listen to it.

use serde::{Deserialize, Serialize};

use super::config::ConfigError;
use super::ingest::Source;
use super::model::Key;
use super::publisher::Copies;
use super::tier::MAX_RANK;
use crate::event::Worker;

/// A publisher of events: one rank of an engine. In the file, and what `POST /register` takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Engine {
    /// Its name, as answers give it.
    pub instance_id: u64,
    /// Where it publishes, as in `tcp://10.0.0.1:5557`.
    pub endpoint: String,
    /// The model it serves.
    pub model_name: String,
    /// Engines whose blocks may stand in for each other's.
    #[serde(default = "default_group")]
    pub routing_group: String,
    /// Whose requests see it; empty or `default` for everybody's that name nobody.
    #[serde(default)]
    pub tenant_id: String,
    /// Tokens in its blocks.
    pub block_size: u32,
    /// Its data-parallel rank. If it is not 0, its batches are about this rank, whatever they say.
    #[serde(default)]
    pub dp_rank: u32,
    /// Where it can be asked for what was missed.
    #[serde(default)]
    pub replay_endpoint: Option<String>,
    /// What the topics of its messages begin with; empty for all.
    #[serde(default)]
    pub topic: String,
    /// Whether it connects to `endpoint`, rather than being connected to.
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
    /// The index that its events go to.
    pub fn key(&self) -> Key {
        let tenant = Key::tenant(&self.tenant_id).to_owned();
        Key { model: self.model_name.clone(), group: self.routing_group.clone(), tenant }
    }

    /// The worker that it speaks for, unless its batches say otherwise.
    pub fn worker(&self) -> Worker {
        Worker::new(self.instance_id, self.dp_rank)
    }

    /// Where it is to be heard.
    pub fn source(&self) -> Source {
        Source {
            endpoint: self.endpoint.clone(),
            replay: self.replay_endpoint.clone(),
            topic: self.topic.clone(),
            bind: self.bind,
        }
    }

    /// Whether it can be subscribed to at all.
    ///
    /// # Errors
    /// No endpoint of ZMQ, a rank or block size out of range.
    pub fn check(&self) -> Result<(), ConfigError> {
        let bad = |field, why| Err(ConfigError::Engine { instance: self.instance_id, field, why });
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

/// A request may have more fields than are known here, the file may not.
pub(super) fn check_fields(file: &toml::Table) -> Result<(), ConfigError> {
    let known = toml::Table::try_from(Engine { replay_endpoint: Some(String::new()), ..Engine::default() })
        .map_err(|error| ConfigError::File(error.to_string()))?;
    let engines = file.get("engines").and_then(toml::Value::as_array).into_iter().flatten();
    let unknown = |name: &&String| !known.contains_key(*name);
    match engines.filter_map(toml::Value::as_table).flat_map(toml::Table::keys).find(unknown) {
        Some(name) => Err(ConfigError::File(format!("unknown field `{name}` of an engine"))),
        None => Ok(()),
    }
}
