//! Settings of the service: from a file, overridden by the environment and by flags.

mod access;
mod error;
mod fleet;
mod names;
mod numbers;
mod text;
mod tls;
mod variables;

use std::collections::BTreeMap;
use std::env::{self, VarError};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_rustls::TlsAcceptor;

pub use access::{Access, MIN_TOKEN_BYTES, Role, TokenError, TokenFileError};
pub use error::ConfigError;
pub use tls::TlsError;
pub use variables::check as check_variables;

use crate::hash::HashKey;
use crate::index::{Builder, Index};
use crate::service::budget::OverBudget;
use crate::service::engines::Engine;
use crate::service::ingest;
use crate::service::media::{Media, Medium};
use crate::service::models::{DEFAULT_MAX_WORKERS, Models};
use crate::service::peers;
use crate::service::snapshot;

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
    /// Bytes that all answers together may take while they wait to be read; answers of up to 64 KiB do not count.
    /// Default 256 MiB.
    pub max_answers_bytes: usize,
    /// Seconds for which a client may take nothing of what is sent to it. Default 30.
    pub write_timeout_seconds: u64,
    /// Transfers of `/dump` and `/v1/snapshot` at a time; further ones wait a while. Default 2.
    pub max_transfers: usize,
    /// Seconds that requests in progress get to finish when the service shuts down. Default 10.
    pub shutdown_seconds: u64,
    /// Models at a time, where each group and tenant counts; each model has threads of its own. Default 256.
    pub max_models: usize,
    /// Workers of a model at a time: engines' ranks. Default 16,384.
    pub max_workers: usize,
    /// Shards of each index, each with a writer thread. Default 1.
    pub shards: usize,
    /// Events that may wait for a writer. Default 65,536.
    pub mailbox: usize,
    /// Bytes of events that may wait for a writer. Default 64 MiB.
    pub mailbox_bytes: usize,
    /// Microseconds after which an applied event is visible at the latest. Default 100.
    pub publish_interval_us: u64,
    /// Other instances of the service. At the start, the first one that can be copied whole is copied, unless there is
    /// a snapshot.
    pub peers: Vec<String>,
    /// File with the token that the peers require, if they do.
    pub peer_token_file: Option<PathBuf>,
    /// Seconds for which a peer may send nothing while it is copied. Default 30.
    pub peer_silence_seconds: u64,
    /// Seconds that copying a peer may take. Default 600.
    pub peer_timeout_seconds: u64,
    /// The longest snapshot of a peer, in bytes, also when it is unpacked. Default 16 GiB.
    pub max_peer_snapshot_bytes: u64,
    /// The longest dump of a peer, in bytes; a part of it is in memory at a time. Default 1 GiB.
    pub max_peer_dump_bytes: u64,
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
    /// Seconds that the answer to a request for missed batches may take as a whole. Default 120.
    pub replay_seconds: u64,
    /// The most bytes of a message of an engine; one that announces more is disconnected. Default 32 MiB.
    pub max_message_bytes: usize,
    /// Bytes of messages that were received and not applied yet, of all engines together. Beyond that, the service
    /// reads nothing from engines whose messages are larger than 64 KiB. At least four times `max_message_bytes`.
    /// Default 256 MiB.
    pub message_memory: usize,
    /// File to save the state in, so that a restart continues where the last process ended. Without one, nothing is
    /// saved.
    pub snapshot: Option<PathBuf>,
    /// Seconds between two snapshots; one more is taken at shutdown. Default 60.
    pub snapshot_seconds: u64,
    /// Bytes that all indexes may take together, with the events that wait for them and what is remembered of
    /// publishers. Without a budget, there is no bound.
    pub memory_budget: Option<u64>,
    /// What happens beyond the budget: `refuse` new blocks, the default, or `forget` the least recently stored.
    pub over_budget: OverBudget,
    /// The form of log lines.
    pub log: LogFormat,
    /// What is logged, as in `info,kvleap=debug`. Default `info`.
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
            max_workers: DEFAULT_MAX_WORKERS,
            shards: 1,
            mailbox: 65_536,
            mailbox_bytes: 64 << 20,
            publish_interval_us: 100,
            peers: Vec::new(),
            peer_token_file: None,
            peer_silence_seconds: 30,
            peer_timeout_seconds: 600,
            max_peer_snapshot_bytes: 16 << 30,
            max_peer_dump_bytes: 1 << 30,
            hash_key_file: None,
            media: BTreeMap::new(),
            engines: Vec::new(),
            ingest_threads: 2,
            grace_seconds: 60,
            replay_seconds: 120,
            max_message_bytes: 32 << 20,
            message_memory: 256 << 20,
            snapshot: None,
            snapshot_seconds: 60,
            memory_budget: None,
            over_budget: OverBudget::default(),
            log: LogFormat::Text,
            log_filter: "info".to_owned(),
        }
    }
}

impl Config {
    /// A configuration file with every setting, its default and what it is for.
    pub const EXAMPLE: &str = include_str!("example.toml");

    /// Reads a file of settings, and overrides them as [`Config::load`] does.
    ///
    /// # Errors
    /// The file cannot be read, is too long, is not TOML, or has an unknown name or value.
    pub fn load_file(path: &Path, overrides: &impl Serialize) -> Result<Self, ConfigError> {
        let named = |error: String| ConfigError::File(format!("{}: {error}", path.display()));
        let file = text::read(path).map_err(|error| named(error.to_string()))?;
        Self::load(&file, overrides).map_err(|error| named(error.to_string()))
    }

    /// Parses the text of a file, and overrides its settings with those of `overrides`, a structure with some of the
    /// same names.
    ///
    /// # Errors
    /// The text is not TOML, or has an unknown name or value. The message names the line.
    pub fn load(file: &str, overrides: &impl Serialize) -> Result<Self, ConfigError> {
        let wrong = |error: toml::de::Error| ConfigError::File(text::explained(&error, file));
        let mut table: toml::Table = toml::from_str(file).map_err(wrong)?;
        // The file is parsed alone first, because errors in the merged table could not name its lines.
        if let Err(error) = toml::from_str::<Self>(file) {
            let explained = text::explained(&error, file);
            let setting = names::unknown::<Self>(table.keys().map(String::as_str));
            let engines = table.get("engines").and_then(toml::Value::as_array).into_iter().flatten();
            let fields = engines.filter_map(toml::Value::as_table).flat_map(toml::Table::keys);
            let unknown = match setting {
                Some(setting) => Some(format!("unknown setting {setting}")),
                None => names::unknown::<Engine>(fields.map(String::as_str))
                    .map(|of| format!("unknown field of an engine {of}")),
            };
            return Err(ConfigError::File(match unknown {
                Some(unknown) => explained.replace(error.message(), &unknown),
                None => explained,
            }));
        }
        let overrides = serde_json::to_value(overrides).map_err(|error| ConfigError::File(error.to_string()))?;
        for (name, value) in overrides.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
            let value = toml::Value::try_from(value).map_err(|error| ConfigError::File(format!("{name}: {error}")))?;
            table.insert(name.clone(), value);
        }
        Self::deserialize(table).map_err(|error| ConfigError::File(text::shortened(&error.to_string())))
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
            match env::var(role.variable()) {
                Ok(text) => access.add(role, role.variable(), &text)?,
                Err(VarError::NotUnicode(_)) => return Err(TokenError::not_text(role.variable()).into()),
                Err(VarError::NotPresent) => {}
            }
        }
        Ok(access)
    }

    /// Reads the token that the peers require.
    ///
    /// # Errors
    /// The file cannot be read, or does not have one token in it.
    pub fn peer_token(&self) -> Result<Option<String>, ConfigError> {
        let Some(path) = &self.peer_token_file else { return Ok(None) };
        let text = text::read(path).map_err(|error| TokenFileError::Read(path.clone(), error))?;
        Ok(Some(access::only_token(&path.display().to_string(), &text)?))
    }

    /// Returns the settings of every index.
    pub fn index(&self) -> Builder {
        let interval = Duration::from_micros(self.publish_interval_us);
        let index = Index::builder().shards(self.shards).publish_interval(interval);
        index.mailbox(self.mailbox).mailbox_bytes(self.mailbox_bytes)
    }

    /// Reads the key of local hashes.
    ///
    /// # Errors
    /// The file cannot be read, or contains no key.
    pub fn hash_key(&self) -> Result<Option<HashKey>, ConfigError> {
        let Some(path) = &self.hash_key_file else { return Ok(None) };
        let text = text::read(path).map_err(|error| ConfigError::HashKeyFile(path.clone(), error))?;
        text.trim().parse().map(Some).map_err(|error| ConfigError::HashKey(path.clone(), error))
    }

    /// Returns a registry without models, with these settings and this [`hash_key`](Self::hash_key).
    pub fn models(&self, key: Option<HashKey>) -> Models {
        let models = Models::new(self.index(), self.max_models).max_workers(self.max_workers);
        models.media(Media::with(&self.media)).hash_key(key)
    }

    /// Returns the settings of listeners.
    pub fn ingest(&self) -> ingest::Settings {
        let grace = Duration::from_secs(self.grace_seconds);
        ingest::Settings {
            threads: self.ingest_threads,
            grace,
            replay_whole: Duration::from_secs(self.replay_seconds),
            message_bytes: self.max_message_bytes,
            memory: self.message_memory,
            ..ingest::Settings::default()
        }
    }

    /// Returns how long peers may take, and how much they may send.
    pub(super) fn copy_limits(&self) -> peers::Limits {
        peers::Limits {
            silence: Duration::from_secs(self.peer_silence_seconds),
            whole: Duration::from_secs(self.peer_timeout_seconds),
            snapshot_bytes: self.max_peer_snapshot_bytes,
            dump_bytes: self.max_peer_dump_bytes,
        }
    }

    /// Checks the settings and all files that they name, without listening on anything, connecting to anybody, or
    /// taking the file of the snapshots.
    ///
    /// # Errors
    /// The first setting that cannot be used, and why.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.prepare().map(drop)
    }

    /// Does what [`Config::check`] does, and returns what it read: a file may be a pipe, which can be read once.
    pub(super) fn prepare(&self) -> Result<(Secrets, Option<TlsAcceptor>), ConfigError> {
        self.check_numbers()?;
        self.index().check()?;
        let acceptor = match (&self.tls_certificate, &self.tls_key) {
            (Some(certificate), Some(key)) => Some(tls::acceptor(certificate, key)?),
            (None, None) => None,
            _ => return Err(ConfigError::HalfTls),
        };
        fleet::check(&self.engines, self.max_models)?;
        peers::check_all(&self.peers)?;
        let secrets = Secrets { access: self.access()?, hash_key: self.hash_key()?, peer_token: self.peer_token()? };
        if secrets.access.is_open() && !self.allow_anonymous && !self.listen.ip().is_loopback() {
            return Err(ConfigError::OpenToAll(self.listen));
        }
        if let Some(path) = &self.snapshot {
            snapshot::check(path)?;
        }
        Ok((secrets, acceptor))
    }
}

/// What is in the files and variables with secrets.
pub(super) struct Secrets {
    pub(super) access: Access,
    pub(super) hash_key: Option<HashKey>,
    pub(super) peer_token: Option<String>,
}
