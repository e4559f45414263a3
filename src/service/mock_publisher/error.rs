//! Why a mock engine cannot publish.

use std::io;
use std::path::PathBuf;

/// Why a mock engine cannot publish.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// A number that must be positive is zero.
    #[error("{setting} is 0; it must be at least 1")]
    Zero {
        /// The setting.
        setting: &'static str,
    },
    /// A number is out of its range.
    #[error("{setting} is {value}; it must be {}", range(.setting))]
    OutOfRange {
        /// The setting.
        setting: &'static str,
        /// Its value.
        value: f64,
    },
    /// A rank has no port: the endpoint has none, or it would be too high.
    #[error("rank {rank} has no port; give endpoints like tcp://127.0.0.1:5557, with room above the port")]
    NoPort {
        /// The rank.
        rank: u16,
    },
    /// An endpoint cannot be bound.
    #[error("an endpoint cannot be bound: {0}")]
    Bind(#[source] zeromq::ZmqError),
    /// A thread could not be started.
    #[error("no thread could be started: {0}")]
    Thread(#[source] io::Error),
    /// The state could not be written.
    #[error("{path}: the state could not be written: {source}", path = .path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

fn range(setting: &str) -> &'static str {
    if setting == "drop" { "from 0 to 1" } else { "above 0, and at most 1,000,000,000" }
}
