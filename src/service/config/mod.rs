//! Settings of the service: from a file, overridden by the environment and by flags.

mod access;
mod error;
mod tls;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use access::{Access, MIN_TOKEN_BYTES, Role, TokenError, TokenFileError};
pub use error::ConfigError;
pub use tls::TlsError;
pub(super) use tls::acceptor;

use crate::hash::HashKey;
use crate::index::{Builder, Index};
use crate::service::budget::OverBudget;
use crate::service::engines::Engine;
use crate::service::ingest;
use crate::service::media::{Media, Medium};
use crate::service::models::Models;
use crate::service::peers;

/// All settings. Every one has a default. Their names are those in the file; flags have `-` instead of `_`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The address to listen on. Default `127.0.0.1:8090`; port 0 takes a free port.
    pub listen: SocketAddr,
    /// Whether the service may listen on an address that others can reach although nobody needs a token.
    pub allow_anonymous: bool,
    /// File with tokens for queries, one per line.
    pub read_token_file: Option<PathBuf>,
    /// File with tokens for reporting events.
    pub write_token_file: Option<PathBuf>,
    /// File with tokens for everything.
    pub admin_token_file: Option<PathBuf>,
    /// Certificate chain, PEM; with `tls_key`, connections are encrypted.
    pub tls_certificate: Option<PathBuf>,
    /// The key of the certificate, PEM.
    pub tls_key: Option<PathBuf>,
    /// Threads that serve requests; 0, the default, is one per core.
    pub threads: usize,
    /// Connections at a time; further ones get one answer, which is 503 except for probes. Default 1,024.
    pub max_connections: usize,
    /// Connections at a time from one address; the networks of IPv6 addresses count as one address. 0 is no bound.
    /// Default: three quarters of `max_connections`.
    pub max_connections_per_address: Option<usize>,
    /// Names under which clients reach the service while it has no tokens, besides addresses and local names. A name
    /// that begins with a dot stands for all that end with it, and `*` for any.
    pub allowed_hosts: Vec<String>,
    /// The largest request body, in bytes. Default 8 MiB: a million tokens.
    pub max_body_bytes: usize,
    /// The largest request head, in bytes, at least 8,192. Default 16 KiB.
    pub max_header_bytes: usize,
    /// Seconds that a request's head may take to arrive, and that a connection may be idle. Default 60.
    pub header_timeout_seconds: u64,
    /// Seconds that a request's body may take to arrive. Default 30.
    pub body_timeout_seconds: u64,
    /// Bytes that all bodies in progress may take together. Default 256 MiB.
    pub max_bodies_bytes: usize,
    /// Bytes that all answers which wait to be read may take together; answers of up to 64 KiB do not count. Default 256
    /// MiB.
    pub max_answers_bytes: usize,
    /// Seconds for which a client may take nothing of what is sent to it. Default 30.
    pub write_timeout_seconds: u64,
    /// Transfers of `/dump` and `/v1/snapshot` at a time; further ones wait a while. Default 2.
    pub max_transfers: usize,
    /// Seconds that requests in progress get to finish when the service shuts down. Default 10.
    pub shutdown_seconds: u64,
    /// Models at a time, where each group and tenant counts; each model has threads of its own. Default 256.
    pub max_models: usize,
    /// Shards of each index, each with a writer thread. Default 1.
    pub shards: usize,
    /// Events that may wait for a writer. Default 65,536.
    pub mailbox: usize,
    /// Microseconds after which an applied event is visible at the latest. Default 100.
    pub publish_interval_us: u64,
    /// Other instances of the service. At the start, the first one that can be copied whole is copied, unless there is
    /// a snapshot.
    pub peers: Vec<String>,
    /// File with the token that the peers require, if they do.
    pub peer_token_file: Option<PathBuf>,
    /// File with the key of local hashes, 32 hexadecimal digits. With a key, nobody who does not know it can prepare
    /// different blocks with equal hashes; but all hashing is then done here, and requests with hashes are refused.
    /// Instances that copy each other need the same key. Without one, hashes are those of Dynamo's router.
    pub hash_key_file: Option<PathBuf>,
    /// Names that engines use for storage media in addition to the known ones, or with another meaning: `gpu`, `cpu`,
    /// `disk`, or `shared` for storage that no instance owns.
    pub media: BTreeMap<String, Medium>,
    /// Engines to listen to from the start; others can be registered later.
    pub engines: Vec<Engine>,
    /// Threads that receive events. Default 2.
    pub ingest_threads: usize,
    /// Seconds for which the blocks of an engine are kept after its connection is lost. Default 60.
    pub grace_seconds: u64,
    /// File to save the state in, so that a restart continues where the last process ended. Without one, nothing is
    /// saved.
    pub snapshot: Option<PathBuf>,
    /// Seconds between two snapshots; one more is taken at shutdown. Default 60.
    pub snapshot_seconds: u64,
    /// Bytes that all indexes may take together. Without a budget, there is no bound.
    pub memory_budget: Option<u64>,
    /// What happens beyond the budget: `refuse` new blocks, the default, or `forget` the least recently stored.
    pub over_budget: OverBudget,
    /// The form of log lines.
    pub log: LogFormat,
    /// What is logged, as in `info,kvleap=debug`. Default `info,zeromq=warn`, because zeromq logs every reconnection.
    pub log_filter: String,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8090)),
            allow_anonymous: false,
            read_token_file: None,
            write_token_file: None,
            admin_token_file: None,
            tls_certificate: None,
            tls_key: None,
            threads: 0,
            max_connections: 1024,
            max_connections_per_address: None,
            allowed_hosts: Vec::new(),
            max_body_bytes: 8 << 20,
            max_header_bytes: 16 << 10,
            header_timeout_seconds: 60,
            body_timeout_seconds: 30,
            max_bodies_bytes: 256 << 20,
            max_answers_bytes: 256 << 20,
            write_timeout_seconds: 30,
            max_transfers: 2,
            shutdown_seconds: 10,
            max_models: 256,
            shards: 1,
            mailbox: 65_536,
            publish_interval_us: 100,
            peers: Vec::new(),
            peer_token_file: None,
            hash_key_file: None,
            media: BTreeMap::new(),
            engines: Vec::new(),
            ingest_threads: 2,
            grace_seconds: 60,
            snapshot: None,
            snapshot_seconds: 60,
            memory_budget: None,
            over_budget: OverBudget::default(),
            log: LogFormat::Text,
            log_filter: "info,zeromq=warn".to_owned(),
        }
    }
}

impl Config {
    /// A configuration file with every setting, its default and what it is for.
    pub const EXAMPLE: &str = include_str!("example.toml");

    /// Parses a file, and overrides its settings with those of `overrides`, a structure with some of the same names.
    ///
    /// # Errors
    /// The file is not TOML, or has an unknown name or value. The message names the line.
    pub fn load(file: &str, overrides: &impl Serialize) -> Result<Self, ConfigError> {
        let wrong = |error: toml::de::Error| ConfigError::File(error.to_string().trim_end().to_owned());
        // The file is parsed alone first, because errors in the merged table could not name its lines.
        toml::from_str::<Self>(file).map_err(wrong)?;
        let mut table: toml::Table = toml::from_str(file).map_err(wrong)?;
        check_engine_fields(&table)?;
        let overrides = toml::Table::try_from(overrides).map_err(|error| ConfigError::File(error.to_string()))?;
        table.extend(overrides);
        Self::deserialize(table).map_err(wrong)
    }

    /// Reads the tokens from the files and the environment.
    ///
    /// # Errors
    /// A file cannot be read, or a token cannot be used.
    pub fn access(&self) -> Result<Access, ConfigError> {
        let mut access = Access::default();
        let files = [&self.read_token_file, &self.write_token_file, &self.admin_token_file];
        for (role, file) in Role::ALL.into_iter().zip(files) {
            if let Some(path) = file {
                access.add_file(role, path)?;
            }
            if let Ok(text) = env::var(role.variable()) {
                access.add(role, role.variable(), &text)?;
            }
        }
        Ok(access)
    }

    /// Reads the token that the peers require.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn peer_token(&self) -> Result<Option<String>, ConfigError> {
        let Some(path) = &self.peer_token_file else { return Ok(None) };
        let text = fs::read_to_string(path).map_err(|error| TokenFileError::Read(path.clone(), error))?;
        Ok(Some(text.trim().to_owned()))
    }

    /// Returns the settings of every index.
    pub fn index(&self) -> Builder {
        let interval = Duration::from_micros(self.publish_interval_us);
        Index::builder().shards(self.shards).mailbox(self.mailbox).publish_interval(interval)
    }

    /// Reads the key of local hashes.
    ///
    /// # Errors
    /// The file cannot be read, or contains no key.
    pub fn hash_key(&self) -> Result<Option<HashKey>, ConfigError> {
        let Some(path) = &self.hash_key_file else { return Ok(None) };
        let text = fs::read_to_string(path).map_err(|error| ConfigError::HashKeyFile(path.clone(), error))?;
        text.trim().parse().map(Some).map_err(|error| ConfigError::HashKey(path.clone(), error))
    }

    /// Returns a registry without models, with these settings and this [`hash_key`](Self::hash_key).
    pub fn models(&self, key: Option<HashKey>) -> Models {
        Models::new(self.index(), self.max_models).media(Media::with(&self.media)).hash_key(key)
    }

    /// Returns the settings of listeners.
    pub fn ingest(&self) -> ingest::Settings {
        let grace = Duration::from_secs(self.grace_seconds);
        ingest::Settings { threads: self.ingest_threads, grace, ..ingest::Settings::default() }
    }

    /// Checks the settings and all files that they name, without listening on anything or connecting to anybody.
    ///
    /// # Errors
    /// The first setting that cannot be used, and why.
    pub fn check(&self) -> Result<(), ConfigError> {
        let at_least = |name, value: usize, least| {
            if value < least { Err(ConfigError::TooSmall { name, value, least }) } else { Ok(()) }
        };
        at_least("max_connections", self.max_connections, 1)?;
        at_least("max_models", self.max_models, 1)?;
        at_least("ingest_threads", self.ingest_threads, 1)?;
        at_least("memory_budget", self.memory_budget.unwrap_or(u64::MAX) as usize, 1 << 20)?;
        at_least("snapshot_seconds", self.snapshot_seconds as usize, 1)?;
        at_least("max_body_bytes", self.max_body_bytes, 1)?;
        at_least("max_header_bytes", self.max_header_bytes, 8192)?;
        at_least("header_timeout_seconds", self.header_timeout_seconds as usize, 1)?;
        at_least("body_timeout_seconds", self.body_timeout_seconds as usize, 1)?;
        at_least("max_bodies_bytes", self.max_bodies_bytes, 1)?;
        at_least("max_answers_bytes", self.max_answers_bytes, 1)?;
        at_least("write_timeout_seconds", self.write_timeout_seconds as usize, 1)?;
        at_least("max_transfers", self.max_transfers, 1)?;
        self.index().check()?;
        match (&self.tls_certificate, &self.tls_key) {
            (Some(certificate), Some(key)) => drop(acceptor(certificate, key)?),
            (None, None) => {}
            _ => return Err(ConfigError::HalfTls),
        }
        self.engines.iter().try_for_each(Engine::check)?;
        self.peers.iter().try_for_each(|url| peers::check(url))?;
        self.peer_token()?;
        self.hash_key()?;
        let open = self.access()?.is_open();
        if open && !self.allow_anonymous && !self.listen.ip().is_loopback() {
            return Err(ConfigError::OpenToAll(self.listen));
        }
        Ok(())
    }
}

/// Checks that engines in the file have known fields only. A request may have others, so [`Engine`] itself accepts
/// them.
fn check_engine_fields(file: &toml::Table) -> Result<(), ConfigError> {
    let known = toml::Table::try_from(Engine { replay_endpoint: Some(String::new()), ..Engine::default() })
        .map_err(|error| ConfigError::File(error.to_string()))?;
    let engines = file.get("engines").and_then(toml::Value::as_array).into_iter().flatten();
    let unknown = |name: &&String| !known.contains_key(*name);
    match engines.filter_map(toml::Value::as_table).flat_map(toml::Table::keys).find(unknown) {
        Some(name) => Err(ConfigError::File(format!("unknown field `{name}` of an engine"))),
        None => Ok(()),
    }
}
