//! The server: it listens, limits what connections may cost, and shuts down in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{self, Runtime};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::service::config::Config;
use crate::service::http;
use crate::service::indexer::{Indexer, PeriodicTask, StartError};
use crate::service::snapshot::SnapshotError;

/// A running service. [`Server::stop`] lets requests finish; dropping it ends the service at once.
#[derive(Debug)]
pub struct Server {
    indexer: Arc<Indexer>,
    address: SocketAddr,
    grace: Duration,
    stop: oneshot::Sender<()>,
    accepting: JoinHandle<GracefulShutdown>,
    tasks: Vec<PeriodicTask>,
    runtime: Runtime,
}

impl Server {
    /// Binds the address, restores the state from a snapshot or a peer, listens to the engines of the configuration,
    /// and begins to serve.
    ///
    /// # Errors
    /// A setting cannot be used, or the address cannot be listened on.
    pub fn start(config: Config) -> Result<Self, StartError> {
        Self::start_unless(config, &AtomicBool::new(false))
    }

    /// Like [`Server::start`], unless somebody ends it before it serves: whoever swaps `decided` to true first decides.
    /// If that is the caller, who must find false in it, nobody has been answered and nothing is half-written, and the
    /// process may end. The server swaps it when it is about to serve, and from then on has to be
    /// [stopped](Server::stop).
    ///
    /// # Errors
    /// Like [`Server::start`]; or [`StartError::Ended`].
    pub fn start_unless(config: Config, decided: &AtomicBool) -> Result<Self, StartError> {
        let (secrets, acceptor) = config.prepare()?;
        let mut builder = runtime::Builder::new_multi_thread();
        if config.threads > 0 {
            builder.worker_threads(config.threads);
        }
        let runtime = builder.thread_name("kvleap-http").enable_all().build().map_err(StartError::Runtime)?;
        let listen = |error| StartError::Listen(config.listen, error);
        let listener = runtime.block_on(TcpListener::bind(config.listen)).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let grace = Duration::from_secs(config.shutdown_seconds);
        let scheme = if acceptor.is_some() { "https" } else { "http" };
        let door = Door::new(&config, acceptor);
        let connections = config.max_connections;
        let indexer = Indexer::start(config, secrets)?;
        indexer.metrics().count_connections(&door.permits, connections);
        if decided.swap(true, Relaxed) {
            return Err(StartError::Ended);
        }
        let (stop, stopped) = oneshot::channel();
        let accepting = runtime.spawn(door.accept(listener, http::router(&indexer), stopped));
        let tasks = indexer.periodic_tasks().map_err(StartError::Runtime)?;
        tracing::info!(%address, url = format!("{scheme}://{address}/"), "listening");
        Ok(Self { indexer, address, grace, stop, accepting, tasks, runtime })
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
        let Self { indexer, grace, stop, accepting, tasks, runtime, .. } = self;
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

/// What every new connection has to pass: the limit on connections, TLS, and the limits on requests.
struct Door {
    tls: Option<TlsAcceptor>,
    permits: Arc<Semaphore>,
    http: http1::Builder,
    header_timeout: Duration,
}

impl Door {
    fn new(config: &Config, tls: Option<TlsAcceptor>) -> Self {
        let header_timeout = Duration::from_secs(config.header_timeout_seconds);
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(header_timeout).max_header_size(config.max_header_bytes);
        Self { tls, permits: Arc::new(Semaphore::new(config.max_connections)), http, header_timeout }
    }

    /// Accepts connections until it is told to stop; returns those that are open then.
    async fn accept(self, listener: TcpListener, router: Router, mut stop: oneshot::Receiver<()>) -> GracefulShutdown {
        let door = Arc::new(self);
        let connections = GracefulShutdown::new();
        loop {
            let next = async {
                let permit = Arc::clone(&door.permits).acquire_owned().await;
                (permit, listener.accept().await)
            };
            let (permit, stream) = tokio::select! {
                biased;
                _ = &mut stop => return connections,
                (permit, accepted) = next => match accepted {
                    Ok((stream, _)) => (permit, stream),
                    Err(error) => {
                        // Most likely there are no file descriptors left; some will be freed.
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                },
            };
            let (door, router, watcher) = (Arc::clone(&door), router.clone(), connections.watcher());
            tokio::spawn(async move {
                let _permit = permit;
                if let Err(error) = door.serve(stream, router, watcher).await {
                    tracing::debug!(%error, "a connection ended early");
                }
            });
        }
    }

    async fn serve(
        &self,
        stream: TcpStream,
        router: Router,
        watcher: Watcher,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        stream.set_nodelay(true)?;
        let service = TowerToHyperService::new(router);
        match &self.tls {
            None => watcher.watch(self.http.serve_connection(TokioIo::new(stream), service)).await?,
            Some(tls) => {
                let stream = timeout(self.header_timeout, tls.accept(stream)).await??;
                watcher.watch(self.http.serve_connection(TokioIo::new(stream), service)).await?;
            }
        }
        Ok(())
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
