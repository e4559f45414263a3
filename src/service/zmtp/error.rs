//! Why there is no connection, or none any more.

use std::io;
use std::time::Duration;

/// Why there is no connection, or none any more.
#[derive(Debug, thiserror::Error)]
pub(in crate::service) enum Error {
    #[error("{0:?} is not like tcp://host:port or ipc://path")]
    Endpoint(String),
    #[error("the name {name} does not resolve: {source}")]
    Resolve { name: String, source: io::Error },
    #[error("cannot connect to {endpoint}: {source}")]
    Connect { endpoint: String, source: io::Error },
    #[error("cannot listen on {endpoint}: {source}")]
    Bind { endpoint: String, source: io::Error },
    #[error("another engine is registered at {endpoint} with the topic {topic:?}; give each one its own")]
    TopicTaken { endpoint: String, topic: String },
    #[error("no connection to {endpoint} within {patience:?}")]
    TimedOut { endpoint: String, patience: Duration },
    #[error("the other end is no ZeroMQ socket that this one understands: {0}")]
    Handshake(String),
    #[error("the other end closed the connection")]
    Closed,
    #[error("{0}")]
    Ended(String),
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    #[error("a message of more than {limit} bytes was announced; max_message_bytes allows no more")]
    TooLarge { limit: usize },
    #[error("a message did not arrive whole within {0:?}")]
    Stalled(Duration),
    #[error("the protocol was violated: {0}")]
    Protocol(&'static str),
}

impl Error {
    /// Whether nobody listens where the connection was to be made.
    pub(in crate::service) fn is_refusal(&self) -> bool {
        let refused =
            |error: &io::Error| matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound);
        matches!(self, Self::Connect { source, .. } if refused(source))
    }
}
