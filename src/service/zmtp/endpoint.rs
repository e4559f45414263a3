//! Where sockets are: endpoints as `ZeroMQ` writes them, over TCP or a path on this machine.

use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream, lookup_host};
use tokio::time::timeout;

use super::error::Error;

/// How long one address of a name may take, before the next one is tried.
const PATIENCE: Duration = Duration::from_secs(2);

/// A connection's bytes.
pub(in crate::service) trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl Stream for TcpStream {}
impl Stream for UnixStream {}

/// Where a socket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::service) enum Endpoint {
    /// The host is a name, an address, or `*`.
    Tcp {
        host: String,
        port: u16,
    },
    Ipc(PathBuf),
}

/// A socket to which others connect.
#[derive(Debug)]
pub(in crate::service) enum Listener {
    Tcp(TcpListener),
    /// The path is removed when this is dropped.
    Ipc(UnixListener, PathBuf),
}

impl Endpoint {
    /// Parses `tcp://host:port` or `ipc://path`.
    pub(in crate::service) fn parse(text: &str) -> Result<Self, Error> {
        let bad = || Error::Endpoint(text.to_owned());
        if let Some(path) = text.strip_prefix("ipc://").filter(|path| !path.is_empty()) {
            return Ok(Self::Ipc(path.into()));
        }
        let (host, port) = text.strip_prefix("tcp://").and_then(|at| at.rsplit_once(':')).ok_or_else(bad)?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let port = port.parse().map_err(|_| bad())?;
        if host.is_empty() { Err(bad()) } else { Ok(Self::Tcp { host: host.to_owned(), port }) }
    }

    /// Connects, to the first address of the name that answers.
    pub(in crate::service) async fn connect(&self) -> Result<Box<dyn Stream>, Error> {
        let failed = |source| Error::Connect { endpoint: self.to_string(), source };
        match self {
            Self::Ipc(path) => Ok(Box::new(UnixStream::connect(path).await.map_err(failed)?)),
            Self::Tcp { host, port } => {
                let resolved = lookup_host((host.as_str(), *port)).await;
                let addresses = resolved.map_err(|source| Error::Resolve { name: host.clone(), source })?;
                let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
                for address in addresses {
                    match timeout(PATIENCE, TcpStream::connect(address)).await {
                        Ok(Ok(stream)) => return Ok(Box::new(kept_alive(stream))),
                        Ok(Err(error)) => last = error,
                        Err(_) => last = io::ErrorKind::TimedOut.into(),
                    }
                }
                Err(failed(last))
            }
        }
    }

    /// Listens, so that others can connect.
    pub(in crate::service) async fn bind(&self) -> Result<Listener, Error> {
        let failed = |source| Error::Bind { endpoint: self.to_string(), source };
        match self {
            Self::Ipc(path) => {
                remove_stale(path).await;
                Ok(Listener::Ipc(UnixListener::bind(path).map_err(failed)?, path.clone()))
            }
            Self::Tcp { host, port } if host == "*" => {
                Ok(Listener::Tcp(TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port)).await.map_err(failed)?))
            }
            Self::Tcp { host, port } => {
                Ok(Listener::Tcp(TcpListener::bind((host.as_str(), *port)).await.map_err(failed)?))
            }
        }
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "tcp://[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "tcp://{host}:{port}"),
            Self::Ipc(path) => write!(f, "ipc://{}", path.display()),
        }
    }
}

impl Listener {
    /// Waits for the next connection.
    pub(in crate::service) async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Tcp(listener) => Box::new(kept_alive(listener.accept().await?.0)),
            Self::Ipc(listener, _) => Box::new(listener.accept().await?.0),
        })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Ipc(_, path) = self {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Removes a socket that a process left behind when it was killed, which would be in the way. Nothing else is removed: not
/// a file that is no socket, and not a socket on which somebody listens.
async fn remove_stale(path: &Path) {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|data| data.file_type().is_socket());
    if is_socket
        && let Ok(Err(error)) = timeout(PATIENCE, UnixStream::connect(path)).await
        && error.kind() == io::ErrorKind::ConnectionRefused
    {
        // If this fails, binding does, and says why.
        let _ = std::fs::remove_file(path);
    }
}

/// Lets the operating system ask the other end whether it is still there: if it has vanished without a word, the
/// connection ends after about a minute.
fn kept_alive(stream: TcpStream) -> TcpStream {
    use rustix::net::sockopt;
    // A socket that cannot do this works all the same.
    let _ = sockopt::set_socket_keepalive(&stream, true);
    #[cfg(target_os = "linux")]
    {
        let _ = sockopt::set_tcp_keepidle(&stream, Duration::from_secs(30));
        let _ = sockopt::set_tcp_keepintvl(&stream, Duration::from_secs(10));
        let _ = sockopt::set_tcp_keepcnt(&stream, 3);
    }
    stream
}
