//! Settings of the service: from a file, and over it from flags and the environment.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use std::{env, fmt};

use serde::{Deserialize, Serialize};

use super::auth::{Access, Role, TokenError, TokenFileError};
use super::budget::OverBudget;
use super::engine::{self, Engine};
use super::ingest;
use super::media::{Media, Medium};
use super::model::Models;
use super::peers::{self, PeerError};
use crate::hash::{HashKey, InvalidHashKey};
use crate::index::{Builder, Index};

/// All settings. Every one has a default; the names are those of the file, and with `-` for `_` those of the flags.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where to listen. Default `127.0.0.1:8090`; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Whether an address that others can reach may be listened on although nobody needs a token.
    pub allow_anonymous: bool,
    /// File with tokens for asking, one a line.
    pub read_token_file: Option<PathBuf>,
    /// File with tokens for reporting events.
    pub write_token_file: Option<PathBuf>,
    /// File with tokens for everything.
    pub admin_token_file: Option<PathBuf>,
    /// Certificate chain, PEM; with `tls_key`, connections are encrypted.
    pub tls_certificate: Option<PathBuf>,
    /// Its key, PEM.
    pub tls_key: Option<PathBuf>,
    /// Threads that serve requests; 0, the default, is one a core.
    pub threads: usize,
    /// Connections at a time; more wait until one ends. Default 1,024.
    pub max_connections: usize,
    /// Bytes of a request's body. Default 8 MiB: a million tokens.
    pub max_body_bytes: usize,
    /// Bytes of a request's head, at least 8,192. Default 16 KiB.
    pub max_header_bytes: usize,
    /// Seconds for a request's head to arrive; also how long a connection may be idle. Default 60.
    pub header_timeout_seconds: u64,
    /// Seconds for a request's body to arrive. Default 30.
    pub body_timeout_seconds: u64,
    /// Seconds that requests in progress get when the service ends. Default 10.
    pub shutdown_seconds: u64,
    /// Models at a time, counting groups and tenants; each has threads of its own. Default 256.
    pub max_models: usize,
    /// Writers of each index. Default 1.
    pub shards: usize,
    /// Events that wait for a writer at most. Default 65,536.
    pub mailbox: usize,
    /// Microseconds after which an applied event is visible at the latest. Default 100.
    pub publish_interval_us: u64,
    /// Other instances of the service: the first that gives all it has is copied at the start, unless there is a
    /// snapshot.
    pub peers: Vec<String>,
    /// File with the token for the peers, if they ask for one.
    pub peer_token_file: Option<PathBuf>,
    /// File with the key of local hashes, 32 hexadecimal digits. With it nobody who does not know the key can prepare blocks
    /// of tokens that are taken for one another; but then all hashing is done here, and requests that bring hashes are
    /// refused. Instances that copy each other need the same key. Without it, hashes are those of Dynamo's router.
    pub hash_key_file: Option<PathBuf>,
    /// Names of storage media that engines use beside the known ones, or in another sense: `gpu`, `cpu`, `disk`, or `shared`
    /// for storage that no instance owns.
    pub media: BTreeMap<String, Medium>,
    /// Engines to subscribe to from the start; others register themselves.
    pub engines: Vec<Engine>,
    /// Threads that receive events. Default 2.
    pub ingest_threads: usize,
    /// Seconds for which the blocks of an engine that disappeared are kept. Default 60.
    pub grace_seconds: u64,
    /// File to keep all of it in, so that a restart goes on where the last one ended; none if it is not set.
    pub snapshot: Option<PathBuf>,
    /// Seconds between two snapshots; one more is taken at the end. Default 60.
    pub snapshot_seconds: u64,
    /// Bytes that all indexes may take together; no bound if it is not set.
    pub memory_budget: Option<u64>,
    /// What is done beyond the budget: `refuse` new content, the default, or `forget` the least recently stored.
    pub over_budget: OverBudget,
    /// The form of log lines.
    pub log: LogFormat,
    /// What is logged, as in `info,kvleap=debug`. Default `info,zeromq=warn`: the library logs every reconnection.
    pub log_filter: String,
    /// Also serve `/bench/null`, which does all that `/query_by_hash` does except the lookup.
    #[serde(skip)]
    pub bench_null: bool,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
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
            max_body_bytes: 8 << 20,
            max_header_bytes: 16 << 10,
            header_timeout_seconds: 60,
            body_timeout_seconds: 30,
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
            bench_null: false,
        }
    }
}

impl Config {
    /// A file with every setting, its default and what it is for.
    pub const EXAMPLE: &str = include_str!("example.toml");

    /// What a file says, and over it what else was said: `overrides` is a structure with some of the same names.
    ///
    /// # Errors
    /// The file is not TOML, or a name or value in it is unknown; with the line.
    pub fn load(file: &str, overrides: &impl Serialize) -> Result<Self, ConfigError> {
        let wrong = |error: toml::de::Error| ConfigError::File(error.to_string().trim_end().to_owned());
        // First the file alone, for errors that name its lines.
        toml::from_str::<Self>(file).map_err(wrong)?;
        let mut table: toml::Table = toml::from_str(file).map_err(wrong)?;
        engine::check_fields(&table)?;
        let overrides = toml::Table::try_from(overrides).map_err(|error| ConfigError::File(error.to_string()))?;
        table.extend(overrides);
        Self::deserialize(table).map_err(wrong)
    }

    /// The tokens, from the files and the environment.
    ///
    /// # Errors
    /// A file that cannot be read, or a token that cannot be used.
    pub fn access(&self) -> Result<Access, ConfigError> {
        let mut access = Access::default();
        let files = [&self.read_token_file, &self.write_token_file, &self.admin_token_file];
        for (role, file) in Role::ALL.into_iter().zip(files) {
            if let Some(path) = file {
                access.add_file(role, path).map_err(ConfigError::TokenFile)?;
            }
            if let Ok(text) = env::var(role.variable()) {
                access.add(role, role.variable(), &text).map_err(ConfigError::Token)?;
            }
        }
        Ok(access)
    }

    /// The token that peers ask for.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn peer_token(&self) -> Result<Option<String>, ConfigError> {
        let Some(path) = &self.peer_token_file else { return Ok(None) };
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|error| ConfigError::TokenFile(TokenFileError::Read(path.clone(), error)))?;
        Ok(Some(text.trim().to_owned()))
    }

    /// What every index is built from.
    pub fn index(&self) -> Builder {
        let interval = Duration::from_micros(self.publish_interval_us);
        Index::builder().shards(self.shards).mailbox(self.mailbox).publish_interval(interval)
    }

    /// The key of local hashes.
    ///
    /// # Errors
    /// The file cannot be read, or has no key.
    pub fn hash_key(&self) -> Result<Option<HashKey>, ConfigError> {
        let Some(path) = &self.hash_key_file else { return Ok(None) };
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|error| ConfigError::TokenFile(TokenFileError::Read(path.clone(), error)))?;
        text.trim().parse().map(Some).map_err(|error| ConfigError::HashKey(path.clone(), error))
    }

    /// No models yet, with these settings and this [`hash_key`](Self::hash_key).
    pub fn models(&self, key: Option<HashKey>) -> Models {
        Models::new(self.index(), self.max_models).media(Media::with(&self.media)).hash_key(key)
    }

    /// How engines are listened to.
    pub fn ingest(&self) -> ingest::Settings {
        let grace = Duration::from_secs(self.grace_seconds);
        ingest::Settings { threads: self.ingest_threads, grace, ..ingest::Settings::default() }
    }

    /// Whether the settings make sense, with all files that they name; nothing is listened on or connected to.
    ///
    /// # Errors
    /// The first setting that does not, and why.
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
        self.index().check().map_err(ConfigError::Index)?;
        match (&self.tls_certificate, &self.tls_key) {
            (Some(certificate), Some(key)) => drop(super::tls::acceptor(certificate, key).map_err(ConfigError::Tls)?),
            (None, None) => {}
            _ => return Err(ConfigError::HalfTls),
        }
        self.engines.iter().try_for_each(Engine::check)?;
        self.peers.iter().try_for_each(|url| peers::check(url).map_err(ConfigError::Peer))?;
        self.peer_token()?;
        self.hash_key()?;
        let open = self.access()?.is_open();
        if open && !self.allow_anonymous && !self.listen.ip().is_loopback() {
            return Err(ConfigError::OpenToAll(self.listen));
        }
        Ok(())
    }
}

/// Why the service cannot be set up so.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file is not TOML, or has an unknown name or value.
    File(String),
    /// A number is less than makes sense.
    TooSmall {
        /// The setting.
        name: &'static str,
        /// Its value.
        value: usize,
        /// What it must be at least.
        least: usize,
    },
    /// The index cannot be set up so.
    Index(crate::index::ConfigError),
    /// A token file cannot be used.
    TokenFile(TokenFileError),
    /// A file has no key of local hashes.
    HashKey(PathBuf, InvalidHashKey),
    /// A token from the environment cannot be used.
    Token(TokenError),
    /// Certificate or key cannot be used.
    Tls(super::tls::TlsError),
    /// There is a certificate without a key, or a key without a certificate.
    HalfTls,
    /// An engine cannot be subscribed to.
    Engine {
        /// Which.
        instance: u64,
        /// What is wrong with it.
        field: &'static str,
        /// How.
        why: &'static str,
    },
    /// A peer's address is none.
    Peer(PeerError),
    /// Everybody could change everything.
    OpenToAll(SocketAddr),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => f.write_str(error),
            Self::TooSmall { name, value, least } => write!(f, "{name} is {value}; it must be at least {least}"),
            Self::Index(error) => error.fmt(f),
            Self::TokenFile(error) => error.fmt(f),
            Self::HashKey(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Token(error) => error.fmt(f),
            Self::Tls(error) => error.fmt(f),
            Self::HalfTls => f.write_str("tls_certificate and tls_key belong together; one of them is missing"),
            Self::Engine { instance, field, why } => write!(f, "engine {instance}: {field} {why}"),
            Self::Peer(error) => error.fmt(f),
            Self::OpenToAll(listen) => write!(
                f,
                "{listen} can be reached by others, and nobody would need a token: set admin_token_file (and those for \
                 reading and writing), or listen on 127.0.0.1, or set allow_anonymous"
            ),
        }
    }
}

impl std::error::Error for ConfigError {}
