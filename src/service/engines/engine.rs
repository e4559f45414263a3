//! What the service has to know of an engine to listen to it.

use std::net::IpAddr;

use serde::de::{Deserializer, IgnoredAny};
use serde::{Deserialize, Serialize};

use crate::event::Worker;
use crate::service::ingest::Source;
use crate::service::models::{Key, NameError, check_address};
use crate::service::publisher::Copies;
use crate::service::tier::MAX_RANK;

/// A publisher of events: one data-parallel rank of an engine. An entry in the configuration file, and the body of
/// `POST /register`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
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
    #[serde(default, deserialize_with = "or_default")]
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
    /// Clients of Dynamo's indexer may send it, also as `additionalsalt`. Engines of different salts need groups or tenants
    /// of their own.
    #[serde(default, alias = "additionalsalt", skip_serializing)]
    pub additional_salt: Ignored,
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
    /// A name is not accepted, an endpoint is not one of ZMQ or can never be connected to, or a number is out of range.
    pub fn check(&self) -> Result<(), EngineError> {
        let instance = self.instance_id;
        let bad = |field, why| Err(EngineError::Field { instance, field, why });
        let named = |error| EngineError::Name { instance, error };
        self.key().check().map_err(named)?;
        check_address("endpoint", &self.endpoint).map_err(named)?;
        check_address("topic", &self.topic).map_err(named)?;
        let Some(host) = host(&self.endpoint) else { return bad("endpoint", NOT_AN_ENDPOINT) };
        if !self.bind && is_wildcard(host) {
            return bad(
                "endpoint",
                "stands for every address of a machine, and nobody can connect to it: give the address at which the \
                 engine can be reached; or set bind, if the engine connects to this service",
            );
        }
        if let Some(replay) = &self.replay_endpoint {
            check_address("replay_endpoint", replay).map_err(named)?;
            let Some(host) = self::host(replay) else { return bad("replay_endpoint", NOT_AN_ENDPOINT) };
            if is_wildcard(host) {
                return bad(
                    "replay_endpoint",
                    "stands for every address of a machine, and nobody can connect to it: give the address at which the \
                     engine can be reached",
                );
            }
            if *replay == self.endpoint {
                return bad("replay_endpoint", "is the endpoint: an engine answers replays at an address of their own");
            }
        }
        if self.block_size == 0 {
            return bad("block_size", "is 0; give the engine's own, often 16 or 64");
        }
        if self.dp_rank > MAX_RANK {
            return bad("dp_rank", "is 2^28 or more");
        }
        Ok(())
    }
}

const NOT_AN_ENDPOINT: &str = "is not like tcp://host:port or ipc://path, with a port from 1 to 65535";

/// Returns the host of an endpoint, empty for a path; `None` if it is not an endpoint.
fn host(endpoint: &str) -> Option<&str> {
    if let Some(path) = endpoint.strip_prefix("ipc://") {
        return (!path.is_empty()).then_some("");
    }
    let (host, port) = endpoint.strip_prefix("tcp://")?.rsplit_once(':')?;
    let is_port = port.parse::<u16>().is_ok_and(|port| port > 0);
    (is_port && !host.is_empty()).then_some(host)
}

/// Whether a host stands for every address of a machine.
fn is_wildcard(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host == "*" || address.parse::<IpAddr>().is_ok_and(|address| address.is_unspecified())
}

/// A field that is accepted and has no effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ignored;

impl<'de> Deserialize<'de> for Ignored {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

/// Takes `null` for a field that is missing.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Why an engine cannot be subscribed to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// A field has a value with which it can never be heard.
    #[error("engine {instance}: {field} {why}")]
    Field {
        /// The engine.
        instance: u64,
        /// The field.
        field: &'static str,
        /// What is wrong with its value.
        why: &'static str,
    },
    /// A name is not accepted.
    #[error("engine {instance}: {error}")]
    Name {
        /// The engine.
        instance: u64,
        /// What is wrong with its name.
        error: NameError,
    },
}
