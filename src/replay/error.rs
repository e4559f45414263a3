//! Why a replay did not happen.

use thiserror::Error;

use super::Options;
use crate::index::ConfigError;
use crate::trace::{ExpandError, ToolError, TraceError};

/// Why a replay did not start, or did not finish.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// A count that must be positive is zero.
    #[error("--{option} is 0; it must be at least 1")]
    Zero {
        /// The option, as the command spells it.
        option: &'static str,
    },
    /// There are more workers than [`Options::MAX_WORKERS`].
    #[error("--workers is {workers}; a replay simulates at most {}", Options::MAX_WORKERS)]
    TooManyWorkers {
        /// How many were asked for.
        workers: u32,
    },
    /// The trace's blocks cannot be cut into blocks of the size asked for.
    #[error("{0}")]
    BlockSizes(#[source] ExpandError),
    /// No [`Assign`](super::Assign) has this name.
    #[error("there is no policy {name:?}; choose from random, round-robin, best")]
    UnknownAssign {
        /// The name that was given.
        name: String,
    },
    /// The index does not accept its configuration.
    #[error("the index cannot be built: {0}")]
    Index(#[source] ConfigError),
    /// The trace cannot be read.
    #[error("{0}")]
    Trace(#[source] TraceError),
    /// The record cannot be written.
    #[error("the record: {0}")]
    Record(#[source] ToolError),
    /// A writer thread of the index stopped before the replay was over.
    #[error("a writer thread of the index stopped before the replay was over")]
    Stopped,
}
