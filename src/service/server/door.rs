//! What every new connection has to pass: the limits on connections, TLS, and the limits on requests.
//!
//! The service accepts a connection beyond a limit all the same: it answers if the client asks whether the service is
//! alive or ready, and tells it to come back later if it asks for anything else. So probes get answers however many
//! clients there are. At most [`RESERVE`] connections are served like this: a further one ends the oldest of them.

use std::collections::VecDeque;
use std::error::Error;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::addresses::{Addresses, Counted};
use super::progress::Impatient;
use crate::service::config::Config;
use crate::service::files::RESERVE;
use crate::service::http::{self, Hosts, Readiness};

/// How long a connection in the reserve may take to send its head, and may leave its answer unread. It is short because
/// probes are quick, and because others may need the reserve.
const RESERVE_PATIENCE: Duration = Duration::from_secs(5);

/// The least memory that a connection may use for what it is reading or writing, in bytes.
const BUFFER: usize = 64 << 10;

/// How long to wait after a connection could not be accepted; twice as long after each further failure, up to the
/// second figure.
const PAUSE: [Duration; 2] = [Duration::from_millis(10), Duration::from_secs(1)];

/// What every new connection has to pass.
pub(super) struct Door {
    tls: Option<TlsAcceptor>,
    permits: Arc<Semaphore>,
    addresses: Arc<Addresses>,
    /// The whole service, once its state is restored.
    service: OnceLock<Router>,
    /// What is served before that.
    starting: Router,
    /// The limit on all connections.
    full: Limit,
    /// The limit on those from one address.
    crowded: Limit,
    ordinary: Terms,
    reserve: Terms,
}

/// A limit on connections.
struct Limit {
    /// What a connection beyond it is served.
    service: Router,
    /// What is said then.
    why: String,
    /// How often it was reached.
    times: AtomicU64,
}

/// On which terms a connection is served.
#[derive(Debug)]
struct Terms {
    http: http1::Builder,
    /// How long its TLS handshake may take.
    handshake: Duration,
    /// How long it may leave what is sent to it unread.
    unread: Duration,
}

/// How a connection is served.
enum Admission {
    /// As one of those that the limits allow.
    Ordinary(Router, OwnedSemaphorePermit, Counted),
    /// Only for probes.
    Reserve(Router),
}

impl Door {
    /// Returns the permits that open connections have taken from.
    pub(super) fn permits(&self) -> &Arc<Semaphore> {
        &self.permits
    }

    /// Allows this many connections.
    pub(super) fn new(
        config: &Config,
        connections: usize,
        tls: Option<TlsAcceptor>,
        readiness: &Arc<Readiness>,
        hosts: &Arc<Hosts>,
    ) -> Self {
        let header_timeout = Duration::from_secs(config.header_timeout_seconds);
        let write_timeout = Duration::from_secs(config.write_timeout_seconds);
        let terms = |header_timeout, unread| {
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new())
                .header_read_timeout(header_timeout)
                .max_header_size(config.max_header_bytes)
                .max_buf_size(config.max_header_bytes.max(BUFFER));
            Terms { http, handshake: header_timeout, unread }
        };
        let mut reserve = terms(header_timeout.min(RESERVE_PATIENCE), write_timeout.min(RESERVE_PATIENCE));
        reserve.http.keep_alive(false);
        let from_one = match config.max_connections_per_address {
            None => (connections - connections / 4).max(1),
            Some(0) => usize::MAX,
            Some(most) => most,
        };
        let full = format!("all {connections} connections are taken (max_connections)");
        let crowded = format!("all {from_one} connections of this address are taken (max_connections_per_address)");
        let limit = |why: String| {
            let service = http::reserve(readiness, hosts, why.clone());
            Limit { service, why, times: AtomicU64::new(0) }
        };
        Self {
            tls,
            permits: Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS))),
            addresses: Arc::new(Addresses::new(from_one)),
            service: OnceLock::new(),
            starting: http::reserve(readiness, hosts, "the service is starting: its state is being restored"),
            full: limit(full),
            crowded: limit(crowded),
            ordinary: terms(header_timeout, write_timeout),
            reserve,
        }
    }

    /// Serves everything from now on.
    pub(super) fn open(&self, service: Router) {
        self.service.set(service).expect("it is opened once");
    }

    /// Accepts connections until it is told to stop; returns those that are open then.
    pub(super) async fn accept(
        self: Arc<Self>,
        listener: TcpListener,
        mut stop: oneshot::Receiver<()>,
    ) -> GracefulShutdown {
        let connections = GracefulShutdown::new();
        let mut reserve = VecDeque::new();
        let mut failures = Failures::default();
        loop {
            let accepted = tokio::select! {
                biased;
                _ = &mut stop => return connections,
                accepted = listener.accept() => accepted,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                // The client has gone already.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => {
                    failures.wait(&error).await;
                    continue;
                }
            };
            failures.end();
            let (door, watcher) = (Arc::clone(&self), connections.watcher());
            match self.admit(address.ip()) {
                Admission::Ordinary(service, permit, counted) => {
                    tokio::spawn(async move {
                        let _counted = (permit, counted);
                        door.serve(stream, service, watcher, &door.ordinary).await;
                    });
                }
                Admission::Reserve(service) => {
                    if reserve.len() == RESERVE {
                        let oldest: Option<tokio::task::AbortHandle> = reserve.pop_front();
                        // It ended long ago, or it occupies a place that others need more.
                        oldest.inspect(tokio::task::AbortHandle::abort);
                    }
                    let serving =
                        tokio::spawn(async move { door.serve(stream, service, watcher, &door.reserve).await });
                    reserve.push_back(serving.abort_handle());
                }
            }
        }
    }

    fn admit(&self, address: IpAddr) -> Admission {
        let Some(service) = self.service.get() else { return Admission::Reserve(self.starting.clone()) };
        let Some(counted) = self.addresses.count(address) else { return self.crowded.refuse(address) };
        match Arc::clone(&self.permits).try_acquire_owned() {
            Ok(permit) => Admission::Ordinary(service.clone(), permit, counted),
            Err(_) => self.full.refuse(address),
        }
    }

    /// Serves a connection to its end.
    async fn serve(&self, stream: TcpStream, service: Router, watcher: Watcher, terms: &Terms) {
        let served = async {
            stream.set_nodelay(true)?;
            let stream = Impatient::new(stream, terms.unread);
            match &self.tls {
                None => terms.serve(stream, service, watcher).await,
                Some(tls) => {
                    let stream = timeout(terms.handshake, tls.accept(stream)).await??;
                    terms.serve(stream, service, watcher).await
                }
            }
        };
        if let Err(error) = served.await {
            tracing::debug!(error, "a connection ended early");
        }
    }
}

impl Limit {
    /// Refuses a connection beyond the limit. Logs the first, second, fourth, eighth ...
    fn refuse(&self, address: IpAddr) -> Admission {
        let times = self.times.fetch_add(1, Relaxed) + 1;
        if times.is_power_of_two() {
            tracing::warn!(%address, times, "a connection is served for probes only: {}", self.why);
        }
        Admission::Reserve(self.service.clone())
    }
}

type Ended = Result<(), Box<dyn Error + Send + Sync>>;

impl Terms {
    async fn serve<S: AsyncRead + AsyncWrite + Unpin + 'static>(
        &self,
        stream: S,
        service: Router,
        watcher: Watcher,
    ) -> Ended {
        let service = TowerToHyperService::new(service);
        watcher.watch(self.http.serve_connection(TokioIo::new(stream), service)).await?;
        Ok(())
    }
}

/// Connections that could not be accepted, one after another. Most likely there are no files left that may be opened,
/// and trying again at once would fail at once.
#[derive(Debug, Default)]
struct Failures {
    many: u32,
}

impl Failures {
    /// Waits before the next attempt. The first failure is logged, and the second, fourth, eighth ...
    async fn wait(&mut self, error: &io::Error) {
        let [first, longest] = PAUSE;
        let pause = first.saturating_mul(1 << self.many.min(16)).min(longest);
        self.many = self.many.saturating_add(1);
        if self.many.is_power_of_two() {
            tracing::warn!(%error, failures = self.many, "a connection could not be accepted; it waits");
        }
        sleep(pause).await;
    }

    fn end(&mut self) {
        self.many = 0;
    }
}
