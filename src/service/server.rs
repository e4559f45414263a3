//! The server: listens, bounds what connections may cost, and ends in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

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

use super::config::{Config, ConfigError};
use super::engines::RegisterError;
use super::indexer::Indexer;
use super::periodic::Periodic;
use super::{http, tls};

/// A running service. Dropped, it ends at once; [`Server::stop`] lets requests finish.
#[derive(Debug)]
pub struct Server {
    indexer: Arc<Indexer>,
    address: SocketAddr,
    grace: Duration,
    stop: oneshot::Sender<()>,
    accepting: JoinHandle<GracefulShutdown>,
    schedules: Vec<Periodic>,
    runtime: Runtime,
}

impl Server {
    /// Listens, subscribes to the engines of the configuration, and fills from a peer.
    ///
    /// # Errors
    /// The configuration makes no sense, or the address cannot be listened on.
    pub fn start(config: Config) -> Result<Self, StartError> {
        config.check().map_err(StartError::Config)?;
        let acceptor = match (&config.tls_certificate, &config.tls_key) {
            (Some(certificate), Some(key)) => Some(tls::acceptor(certificate, key).map_err(ConfigError::Tls)?),
            _ => None,
        };
        let mut builder = runtime::Builder::new_multi_thread();
        if config.threads > 0 {
            builder.worker_threads(config.threads);
        }
        let runtime = builder.thread_name("kvleap-http").enable_all().build().map_err(StartError::Runtime)?;
        let listen = |error| StartError::Listen(config.listen, error);
        let listener = runtime.block_on(TcpListener::bind(config.listen)).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let grace = Duration::from_secs(config.shutdown_seconds);
        let door = Door::new(&config, acceptor);
        let indexer = Indexer::start(config)?;
        let (stop, stopped) = oneshot::channel();
        let accepting = runtime.spawn(door.accept(listener, http::router(&indexer), stopped));
        let schedules = indexer.schedules().map_err(StartError::Runtime)?;
        tracing::info!(%address, "listening");
        Ok(Self { indexer, address, grace, stop, accepting, schedules, runtime })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it serves.
    pub fn indexer(&self) -> &Arc<Indexer> {
        &self.indexer
    }

    /// Ends: takes no more connections, lets requests finish for [`Config::shutdown_seconds`], leaves the engines,
    /// applies what they have said, and takes a last snapshot. Returns whether all requests could finish.
    pub fn stop(self) -> bool {
        let Self { indexer, grace, stop, accepting, schedules, runtime, .. } = self;
        // The other end waits for exactly this.
        let _ = stop.send(());
        let finished = runtime.block_on(async {
            match accepting.await {
                Ok(connections) => timeout(grace, connections.shutdown()).await.is_ok(),
                Err(_) => false,
            }
        });
        schedules.into_iter().for_each(Periodic::stop);
        indexer.stop();
        runtime.shutdown_background();
        finished
    }
}

/// What every connection passes.
struct Door {
    tls: Option<TlsAcceptor>,
    places: Arc<Semaphore>,
    http: http1::Builder,
    header_timeout: Duration,
}

impl Door {
    fn new(config: &Config, tls: Option<TlsAcceptor>) -> Self {
        let header_timeout = Duration::from_secs(config.header_timeout_seconds);
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(header_timeout).max_header_size(config.max_header_bytes);
        Self { tls, places: Arc::new(Semaphore::new(config.max_connections)), http, header_timeout }
    }

    /// Takes connections until it is told to stop; gives back those that are open.
    async fn accept(self, listener: TcpListener, router: Router, mut stop: oneshot::Receiver<()>) -> GracefulShutdown {
        let door = Arc::new(self);
        let connections = GracefulShutdown::new();
        loop {
            let next = async {
                let place = Arc::clone(&door.places).acquire_owned().await;
                (place, listener.accept().await)
            };
            let (place, stream) = tokio::select! {
                biased;
                _ = &mut stop => return connections,
                (place, accepted) = next => match accepted {
                    Ok((stream, _)) => (place, stream),
                    Err(error) => {
                        // Most likely out of file descriptors: some will come free.
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                },
            };
            let (door, router, watcher) = (Arc::clone(&door), router.clone(), connections.watcher());
            tokio::spawn(async move {
                let _place = place;
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

/// Why the service did not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration makes no sense.
    Config(ConfigError),
    /// The threads could not be started.
    Runtime(io::Error),
    /// An engine of the configuration cannot be listened to.
    Engine(RegisterError),
    /// The address cannot be listened on.
    Listen(SocketAddr, io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Runtime(error) => write!(f, "the server's threads could not be started: {error}"),
            Self::Engine(error) => error.fmt(f),
            Self::Listen(address, error) => write!(f, "{address} cannot be listened on: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

impl From<ConfigError> for StartError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}
