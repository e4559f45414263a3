//! Why the service did not start.

use std::io;
use std::net::SocketAddr;

use crate::service::config::ConfigError;
use crate::service::engines::RegisterError;

/// Why the service did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
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
