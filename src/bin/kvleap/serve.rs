//! `kvleap serve`.

mod lifetime;

use std::env;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use kvleap::service::{ALERTS, Config, ConfigError, check_variables, raise_file_limit};
use serde::{Serialize, Serializer};
use tracing_subscriber::EnvFilter;

use crate::Outcome;
use crate::log::Log;
use crate::print::print;

/// Run the standalone indexer: engines' events in, answers over HTTP.
///
/// Settings come from a file; environment variables override it, and options override both. Every setting of the file
/// is an option with - for _, and a variable in capitals after KVLEAP_. Engines are listed in the file, or register
/// themselves with POST /register.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  kvleap serve
      Listens on 127.0.0.1:8090; engines register with POST /register.
  kvleap serve --config kvleap.toml --listen 0.0.0.0:8090
      As the file says, but reachable by others. The file must name token files,
      or allow_anonymous.
  kvleap serve --example-config > kvleap.toml
      A file to start from, with every setting.
  kvleap serve --example-alerts > alerts.yml
      Alerts for Prometheus, for everything that an operator should know.
  kvleap serve --config kvleap.toml --check-config
      Says whether it could start with these settings.
  KVLEAP_READ_TOKEN=... KVLEAP_ADMIN_TOKEN=... \\
      kvleap serve --peers http://other:8090
      Tokens from the environment; starts with what another instance knows.

Exit codes:
  0  ended when it was told to; with --check-config: the settings are good
  1  ended when it was told to, but some requests could not finish in time, the
     last snapshot could not be saved, or a second signal ended it at once
  2  did not start: a setting is bad, or the address or the snapshot is taken")]
pub(crate) struct Args {
    /// File with settings, as TOML
    #[arg(long, value_name = "FILE", env = "KVLEAP_CONFIG")]
    config: Option<PathBuf>,

    /// Check the settings and all files that they name, and exit
    #[arg(long)]
    check_config: bool,

    /// Print a file with every setting, its default and what it is for, and exit
    #[arg(long)]
    example_config: bool,

    /// Print a file with alerts for Prometheus, and exit
    #[arg(long)]
    example_alerts: bool,

    #[command(flatten)]
    settings: Settings,
}

/// Parses a name and what it stands for.
fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, medium) = pair.ok_or_else(|| format!("{text:?} is not of the form NAME=MEDIUM"))?;
    Ok((name.to_owned(), medium.to_owned()))
}

#[allow(clippy::ref_option, reason = "serde's signature")]
fn as_map<S: Serializer>(pairs: &Option<Vec<(String, String)>>, serializer: S) -> Result<S::Ok, S::Error> {
    match pairs {
        Some(pairs) => serializer.collect_map(pairs.iter().map(|(name, medium)| (name, medium))),
        None => serializer.serialize_none(),
    }
}

/// The settings that override those of the file.
#[derive(clap::Args, Serialize)]
struct Settings {
    /// Address to listen on [default: 127.0.0.1:8090]
    #[arg(long, value_name = "ADDRESS", env = "KVLEAP_LISTEN")]
    listen: Option<SocketAddr>,

    /// Answer everybody, although others can reach the address and no token is set
    #[arg(long, env = "KVLEAP_ALLOW_ANONYMOUS", num_args = 0..=1, default_missing_value = "true")]
    allow_anonymous: Option<bool>,

    /// File with tokens that allow queries, one a line
    #[arg(long, value_name = "FILE", env = "KVLEAP_READ_TOKEN_FILE")]
    read_token_file: Option<PathBuf>,

    /// File with tokens that allow reporting events, one a line
    #[arg(long, value_name = "FILE", env = "KVLEAP_WRITE_TOKEN_FILE")]
    write_token_file: Option<PathBuf>,

    /// File with tokens that allow everything, one a line
    #[arg(long, value_name = "FILE", env = "KVLEAP_ADMIN_TOKEN_FILE")]
    admin_token_file: Option<PathBuf>,

    /// File with the certificate chain, as PEM; with --tls-key, connections are encrypted
    #[arg(long, value_name = "FILE", env = "KVLEAP_TLS_CERTIFICATE")]
    tls_certificate: Option<PathBuf>,

    /// File with the certificate's private key, as PEM
    #[arg(long, value_name = "FILE", env = "KVLEAP_TLS_KEY")]
    tls_key: Option<PathBuf>,

    /// Threads that serve requests [default: one per core]
    #[arg(long, value_name = "N", env = "KVLEAP_THREADS")]
    threads: Option<usize>,

    /// Connections at a time, at most; beyond them only probes are answered [default: 1024]
    #[arg(long, value_name = "N", env = "KVLEAP_MAX_CONNECTIONS")]
    max_connections: Option<usize>,

    /// Connections at a time from one address, at most; 0 is no bound [default: three quarters of --max-connections]
    #[arg(long, value_name = "N", env = "KVLEAP_MAX_CONNECTIONS_PER_ADDRESS")]
    max_connections_per_address: Option<usize>,

    /// Names under which clients reach the service while it has no tokens, besides addresses and local names
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', env = "KVLEAP_ALLOWED_HOSTS")]
    allowed_hosts: Option<Vec<String>>,

    /// Bytes of a request's body, at most [default: 8388608]
    #[arg(long, value_name = "BYTES", env = "KVLEAP_MAX_BODY_BYTES")]
    max_body_bytes: Option<usize>,

    /// Bytes of a request's head, at most [default: 16384]
    #[arg(long, value_name = "BYTES", env = "KVLEAP_MAX_HEADER_BYTES")]
    max_header_bytes: Option<usize>,

    /// Seconds that a request's head may take to arrive, and that a connection may be idle [default: 60]
    #[arg(long, value_name = "SECONDS", env = "KVLEAP_HEADER_TIMEOUT_SECONDS")]
    header_timeout_seconds: Option<u64>,

    /// Seconds that a request's body may take to arrive [default: 30]
    #[arg(long, value_name = "SECONDS", env = "KVLEAP_BODY_TIMEOUT_SECONDS")]
    body_timeout_seconds: Option<u64>,

    /// Bytes of all bodies in progress together, at most [default: 268435456]
    #[arg(long, value_name = "BYTES", env = "KVLEAP_MAX_BODIES_BYTES")]
    max_bodies_bytes: Option<usize>,

    /// Bytes of all answers together that wait to be read, at most [default: 268435456]
    #[arg(long, value_name = "BYTES", env = "KVLEAP_MAX_ANSWERS_BYTES")]
    max_answers_bytes: Option<usize>,

    /// Seconds for which a client may take nothing of what is sent to it [default: 30]
    #[arg(long, value_name = "SECONDS", env = "KVLEAP_WRITE_TIMEOUT_SECONDS")]
    write_timeout_seconds: Option<u64>,

    /// Transfers of /dump and /v1/snapshot at a time, at most; others wait a while [default: 2]
    #[arg(long, value_name = "N", env = "KVLEAP_MAX_TRANSFERS")]
    max_transfers: Option<usize>,

    /// Seconds that requests in progress have to finish when the service ends [default: 10]
    #[arg(long, value_name = "SECONDS", env = "KVLEAP_SHUTDOWN_SECONDS")]
    shutdown_seconds: Option<u64>,

    /// Models at a time, at most, counted once per tenant and routing group [default: 256]
    #[arg(long, value_name = "N", env = "KVLEAP_MAX_MODELS")]
    max_models: Option<usize>,

    /// Workers of a model at a time, at most: ranks of engines [default: 16384]
    #[arg(long, value_name = "N", env = "KVLEAP_MAX_WORKERS")]
    max_workers: Option<usize>,

    /// Shards of each index, each with a writer thread [default: 1]
    #[arg(long, value_name = "N", env = "KVLEAP_SHARDS")]
    shards: Option<usize>,

    /// Events that may wait for a writer thread, at most [default: 65536]
    #[arg(long, value_name = "N", env = "KVLEAP_MAILBOX")]
    mailbox: Option<usize>,

    /// Bytes of events that may wait for a writer thread, at most [default: 67108864]
    #[arg(long, value_name = "BYTES", env = "KVLEAP_MAILBOX_BYTES")]
    mailbox_bytes: Option<usize>,

    /// Microseconds after which an applied event is visible, at the latest [default: 100]
    #[arg(long, value_name = "MICROSECONDS", env = "KVLEAP_PUBLISH_INTERVAL_US")]
    publish_interval_us: Option<u64>,

    /// URLs of other instances; at the start, the first that can be copied whole is copied
    #[arg(long, value_name = "URL,...", value_delimiter = ',', env = "KVLEAP_PEERS")]
    peers: Option<Vec<String>>,

    /// File with the token that the peers require
    #[arg(long, value_name = "FILE", env = "KVLEAP_PEER_TOKEN_FILE")]
    peer_token_file: Option<PathBuf>,

    /// Seconds for which a peer may send nothing while it is copied [default: 30]
    #[arg(long, value_name = "SECONDS", env = "KVLEAP_PEER_SILENCE_SECONDS")]
    peer_silence_seconds: Option<u64>,

    /// Seconds that copying a peer may take [default: 600]
    #[arg(long, value_name = "SECONDS", env = "KVLEAP_PEER_TIMEOUT_SECONDS")]
    peer_timeout_seconds: Option<u64>,

    /// Bytes of a peer's snapshot, at most, also when it is unpacked [default: 17179869184]
    #[arg(long, value_name = "BYTES", env = "KVLEAP_MAX_PEER_SNAPSHOT_BYTES")]
    max_peer_snapshot_bytes: Option<u64>,

    /// Bytes of a peer's dump, at most [default: 1073741824]
    #[arg(long, value_name = "BYTES", env = "KVLEAP_MAX_PEER_DUMP_BYTES")]
    max_peer_dump_bytes: Option<u64>,

    /// File with a secret key for local hashes, 32 hexadecimal digits
    #[arg(long, value_name = "FILE", env = "KVLEAP_HASH_KEY_FILE")]
    hash_key_file: Option<PathBuf>,

    /// Names that engines give their storage, beside the known ones; each MEDIUM is gpu, cpu, disk or shared
    #[arg(long, value_name = "NAME=MEDIUM,...", value_delimiter = ',', value_parser = pair, env = "KVLEAP_MEDIA")]
    #[serde(serialize_with = "as_map")]
    media: Option<Vec<(String, String)>>,

    /// Threads that receive events [default: 2]
    #[arg(long, value_name = "N", env = "KVLEAP_INGEST_THREADS")]
    ingest_threads: Option<usize>,

    /// Seconds for which the blocks of an engine are kept after it disappeared [default: 60]
    #[arg(long, value_name = "SECONDS", env = "KVLEAP_GRACE_SECONDS")]
    grace_seconds: Option<u64>,

    /// Seconds that an answer to a request for missed batches may take as a whole [default: 120]
    #[arg(long, value_name = "SECONDS", env = "KVLEAP_REPLAY_SECONDS")]
    replay_seconds: Option<u64>,

    /// Bytes of a message of an engine, at most [default: 33554432]
    #[arg(long, value_name = "BYTES", env = "KVLEAP_MAX_MESSAGE_BYTES")]
    max_message_bytes: Option<usize>,

    /// Bytes of engines' messages in memory, of all engines together; at least four of the largest messages [default: 268435456]
    #[arg(long, value_name = "BYTES", env = "KVLEAP_MESSAGE_MEMORY")]
    message_memory: Option<usize>,

    /// File for snapshots of all state, from which a restart continues
    #[arg(long, value_name = "FILE", env = "KVLEAP_SNAPSHOT")]
    snapshot: Option<PathBuf>,

    /// Seconds between two snapshots [default: 60]
    #[arg(long, value_name = "SECONDS", env = "KVLEAP_SNAPSHOT_SECONDS")]
    snapshot_seconds: Option<u64>,

    /// Bytes that all indexes may take, with what waits for them and what is remembered of publishers [default: no limit]
    #[arg(long, value_name = "BYTES", env = "KVLEAP_MEMORY_BUDGET")]
    memory_budget: Option<u64>,

    /// What happens beyond the memory budget: new blocks are refused, or the least recently stored ones are forgotten
    /// [default: refuse]
    #[arg(long, value_name = "WHAT", env = "KVLEAP_OVER_BUDGET", value_parser = ["refuse", "forget"])]
    over_budget: Option<String>,

    /// Form of the log lines on standard error [default: text]
    #[arg(long, value_name = "FORM", env = "KVLEAP_LOG", value_parser = ["text", "json"])]
    log: Option<String>,

    /// What is logged, for instance info,kvleap=debug [default: info]
    #[arg(long, value_name = "FILTER", env = "KVLEAP_LOG_FILTER")]
    log_filter: Option<String>,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        if self.example_config {
            print(Config::EXAMPLE)?;
            return Ok(ExitCode::SUCCESS);
        }
        if self.example_alerts {
            print(ALERTS)?;
            return Ok(ExitCode::SUCCESS);
        }
        check_variables(env::vars_os())?;
        let config = self.config()?;
        let filter = EnvFilter::try_new(&config.log_filter).map_err(|error| format!("log_filter: {error}"))?;
        if self.check_config {
            config.check()?;
            print("the settings are good\n")?;
            return Ok(ExitCode::SUCCESS);
        }
        let log = Log::start(config.log, filter)?;
        raise_file_limit();
        Ok(lifetime::run(config).unwrap_or_else(|error| {
            // The log prints it, because printing it here would take for ever if nobody reads standard error.
            log.print(&format!("error: {error}\n"));
            ExitCode::from(2)
        }))
    }

    fn config(&self) -> Result<Config, ConfigError> {
        match &self.config {
            Some(path) => Config::load_file(path, &self.settings),
            None => Config::load("", &self.settings),
        }
    }
}
