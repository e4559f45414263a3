//! Why the service did not start.

use std::io;
use std::net::SocketAddr;

use crate::service::config::ConfigError;
use crate::service::engines::RegisterError;
use crate::service::snapshot::SnapshotError;

/// Why the service did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The snapshot cannot be read or written, or another process writes it.
    #[error("snapshot: {0}")]
    Snapshot(#[from] SnapshotError),
    /// It was told to end before it served anybody.
    #[error("the service was told to end before it was ready")]
    Ended,
    /// The threads could not be started.
    #[error("the server's threads could not be started: {0}")]
    Runtime(#[source] io::Error),
    /// An engine of the configuration cannot be listened to.
    #[error(transparent)]
    Engine(#[from] RegisterError),
    /// The address cannot be listened on.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, #[source] io::Error),
}
