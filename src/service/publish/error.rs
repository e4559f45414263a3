//! Why nothing is published.

use std::path::PathBuf;
use std::{error, fmt, io};

/// Why nothing is published.
#[derive(Debug)]
#[non_exhaustive]
pub enum PublishError {
    /// A count that must be positive is zero.
    Zero {
        /// The setting.
        setting: &'static str,
    },
    /// A rate or share that is out of its range.
    OutOfRange {
        /// The setting.
        setting: &'static str,
        /// Its value.
        value: f64,
    },
    /// A rank has no port: the endpoint names none, or none so high.
    NoPort {
        /// The rank.
        rank: u16,
    },
    /// An endpoint cannot be bound.
    Bind(zeromq::ZmqError),
    /// There are no more threads.
    Thread(io::Error),
    /// The state cannot be written.
    State {
        /// Where to.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero { setting } => write!(f, "{setting} is 0; it must be at least 1"),
            Self::OutOfRange { setting: "drop", value } => write!(f, "drop is {value}; it must be from 0 to 1"),
            Self::OutOfRange { setting, value } => {
                write!(f, "{setting} is {value}; it must be above 0, and at most a thousand million")
            }
            Self::NoPort { rank } => {
                write!(f, "rank {rank} has no port; give endpoints like tcp://127.0.0.1:5557, with room above the port")
            }
            Self::Bind(error) => write!(f, "an endpoint cannot be bound: {error}"),
            Self::Thread(error) => write!(f, "no thread could be started: {error}"),
            Self::State { path, source } => write!(f, "{}: the state could not be written: {source}", path.display()),
        }
    }
}

impl error::Error for PublishError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Bind(error) => Some(error),
            Self::Thread(error) | Self::State { source: error, .. } => Some(error),
            _ => None,
        }
    }
}
