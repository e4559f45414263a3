//! The server: it listens, limits what connections may cost, and shuts down in order.

mod addresses;
mod door;
mod progress;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::runtime::{self, Runtime};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::service::config::Config;
use crate::service::files::{Files, RESERVE};
use crate::service::http::{self, Hosts, Readiness};
use crate::service::indexer::{Indexer, PeriodicTask, StartError};
use crate::service::snapshot::SnapshotError;
use door::Door;

/// A running service. [`Server::stop`] lets requests finish; dropping it ends the service at once.
#[derive(Debug)]
pub struct Server {
    indexer: Arc<Indexer>,
    readiness: Arc<Readiness>,
    address: SocketAddr,
    grace: Duration,
    stop: oneshot::Sender<()>,
    accepting: JoinHandle<GracefulShutdown>,
    tasks: Vec<PeriodicTask>,
    runtime: Runtime,
}

impl Server {
    /// Binds the address, restores the state from a snapshot or a peer, listens to the engines of the configuration,
    /// and begins to serve. Until then, it answers everything with 503.
    ///
    /// # Errors
    /// A setting or the snapshot's file cannot be used, or the address cannot be listened on.
    pub fn start(config: Config) -> Result<Self, StartError> {
        Self::start_unless(config, &AtomicBool::new(false))
    }

    /// Like [`Server::start`], but the caller may end the start: whoever swaps `decided` from false to true first
    /// decides. If the caller does, the server has answered only probes, nothing is half-written, and the process may
    /// end. The server swaps it when it is about to serve, and from then on has to be [stopped](Server::stop).
    ///
    /// # Errors
    /// Like [`Server::start`]; or [`StartError::Ended`].
    pub fn start_unless(config: Config, decided: &AtomicBool) -> Result<Self, StartError> {
        let (secrets, acceptor) = config.prepare()?;
        let files = Files::share(config.max_connections);
        report(&config, files);
        let mut builder = runtime::Builder::new_multi_thread();
        if config.threads > 0 {
            builder.worker_threads(config.threads);
        }
        builder.max_blocking_threads(http::blocking_threads(&config));
        let runtime = builder.thread_name("kvleap-http").enable_all().build().map_err(StartError::Runtime)?;
        let listen = |error| StartError::Listen(config.listen, error);
        let listener = runtime.block_on(TcpListener::bind(config.listen)).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let grace = Duration::from_secs(config.shutdown_seconds);
        let scheme = if acceptor.is_some() { "https" } else { "http" };
        let hosts = Arc::new(Hosts::new(&config.allowed_hosts, secrets.access.is_open()));
        let readiness = Arc::new(Readiness::default());
        let door = Arc::new(Door::new(&config, files.connections, acceptor, &readiness, &hosts));
        let (stop, stopped) = oneshot::channel();
        let accepting = runtime.spawn(Arc::clone(&door).accept(listener, stopped));
        let indexer = Indexer::start(config, secrets)?;
        indexer.metrics().count_connections(door.permits(), files.connections);
        if decided.swap(true, Relaxed) {
            return Err(StartError::Ended);
        }
        door.open(http::router(&indexer, &readiness, &hosts));
        // Whoever is told that it is healthy may send requests at once.
        readiness.set_restored(&indexer);
        let tasks = indexer.periodic_tasks().map_err(StartError::Runtime)?;
        tracing::info!(%address, url = format!("{scheme}://{address}/"), "listening");
        Ok(Self { indexer, readiness, address, grace, stop, accepting, tasks, runtime })
    }

    /// Returns the address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns what it serves.
    pub fn indexer(&self) -> &Arc<Indexer> {
        &self.indexer
    }

    /// Shuts down: accepts no more connections, gives requests [`Config::shutdown_seconds`] to finish, stops listening
    /// to the engines, applies what they have sent, and takes a last snapshot. Returns what was not possible.
    pub fn stop(self) -> Stopped {
        let Self { indexer, readiness, grace, stop, accepting, tasks, runtime, .. } = self;
        readiness.set_stopping();
        // The receiver waits for this and nothing else, so it is still there.
        let _ = stop.send(());
        let finished = runtime.block_on(async {
            match accepting.await {
                Ok(connections) => timeout(grace, connections.shutdown()).await.is_ok(),
                Err(_) => false,
            }
        });
        tasks.into_iter().for_each(PeriodicTask::stop);
        let snapshot = indexer.stop().err();
        runtime.shutdown_background();
        Stopped { unfinished_requests: !finished, snapshot }
    }
}

/// Starts the service without a server. Returns what would be served, and the routes that would serve it.
///
/// # Errors
/// Like [`Server::start`].
#[doc(hidden)] // Public only for fuzz targets, which send requests without sockets.
pub fn unserved(config: Config) -> Result<(Arc<Indexer>, axum::Router), StartError> {
    let (secrets, _) = config.prepare()?;
    let hosts = Arc::new(Hosts::new(&config.allowed_hosts, secrets.access.is_open()));
    let readiness = Arc::new(Readiness::default());
    let indexer = Indexer::start(config, secrets)?;
    readiness.set_restored(&indexer);
    let routes = http::router(&indexer, &readiness, &hosts);
    Ok((indexer, routes))
}

/// What was not possible when the service stopped.
#[derive(Debug)]
pub struct Stopped {
    /// Whether some requests could not finish in time.
    pub unfinished_requests: bool,
    /// Why the last snapshot could not be taken.
    pub snapshot: Option<SnapshotError>,
}

impl Stopped {
    /// Whether everything was finished and saved.
    pub fn is_complete(&self) -> bool {
        !self.unfinished_requests && self.snapshot.is_none()
    }
}

/// Logs how the files that the process may have open are shared out.
fn report(config: &Config, files: Files) {
    let Files { limit, connections, engines } = files;
    tracing::info!(limit, connections, probes = RESERVE, engines, "open files: the limit, and what it allows");
    if connections < config.max_connections {
        tracing::warn!(
            connections,
            max_connections = config.max_connections,
            "too few files may be open for max_connections: raise the limit (`ulimit -n`, or LimitNOFILE of systemd)"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Worker;
    use crate::service::doubt::Doubt;
    use serde_json::json;

    #[test]
    fn every_answer_names_whom_something_is_missing_of() {
        let config = Config { listen: "127.0.0.1:0".parse().expect("an address"), threads: 1, ..Config::default() };
        let server = Server::start(config).expect("good settings");
        let post = |path: &str, body: &str| {
            let answer = ureq::post(format!("http://{}{path}", server.address())).send(body).expect("it answers");
            let text = answer.into_body().read_to_string().expect("text");
            serde_json::from_str::<serde_json::Value>(&text).expect("JSON")
        };
        let blocks = r#"{"stored": {"parent_hash": null, "blocks": [{"block_hash": 1, "tokens_hash": 2}]}}"#;
        let told =
            |rank| format!(r#"{{"worker_id": 7, "event": {{"event_id": 1, "dp_rank": {rank}, "data": {blocks}}}}}"#);
        let (first, second) = (told(0), told(1));
        post("/events", &format!(r#"{{"model_name": "m", "block_size": 4, "events": [{first}, {second}]}}"#));
        let query = r#"{"model_name": "m", "block_hashes": [2]}"#;
        assert!(post("/query_by_hash", query)["degraded"].is_null());

        let model = server.indexer().models().get("m", "default", "").expect("it has events");
        let publisher = model.publishers().get(Worker::new(7, 1)).expect("it said something");
        publisher.doubt(Doubt::JoinedLate);
        assert_eq!(post("/query_by_hash", query)["degraded"], json!({"7": [1]}));
        assert_eq!(post("/v1/match", query)["exactness"], "at_least");
        publisher.doubt(Doubt::Gap);
        let reliance = json!({"exactness": "unknown", "reasons": ["joined_late", "gap"]});
        assert_eq!(post("/query_by_hash", query)["exactness"], json!({"7": {"1": reliance}}));
        let answer = post("/v1/match", query);
        assert_eq!((&answer["exactness"], &answer["degraded"]), (&json!("unknown"), &json!([[7, 1]])));
        let exact = |place: usize| answer["matches"][place]["exactness"].as_str().map(str::to_owned);
        assert_eq!((exact(0).as_deref(), exact(1).as_deref()), (Some("exact"), Some("unknown")));
        assert_eq!(answer["matches"][1]["reasons"], json!(["joined_late", "gap"]));
        let others = r#"{"model_name": "m", "block_hashes": [2], "workers": [[7, 0]]}"#;
        assert_eq!(post("/v1/match", others)["exactness"], "exact", "it is not asked about");
        server.stop();
    }
}
