//! Why a replay did not happen.

use std::path::PathBuf;
use std::{error, fmt};

use super::Options;
use crate::ConfigError;
use crate::trace::{ExpandError, ToolError, TraceError};

/// Why a replay did not happen, or did not end.
#[derive(Debug)]
pub enum ReplayError {
    /// A count that must be positive is zero.
    Zero {
        /// The option, as the command spells it.
        option: &'static str,
    },
    /// More workers than [`Options::MAX_WORKERS`].
    TooManyWorkers {
        /// What was asked for.
        workers: u32,
    },
    /// The trace's blocks cannot be cut into blocks of the size asked for.
    BlockSizes(ExpandError),
    /// No [`Assign`](super::Assign) has this name.
    UnknownAssign {
        /// What was given.
        name: String,
    },
    /// The index does not accept its configuration.
    Index(ConfigError),
    /// The trace cannot be read.
    Trace(TraceError),
    /// A row of the trace does not fit the block sizes.
    Row {
        /// The trace.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong.
        source: ExpandError,
    },
    /// The record cannot be written.
    Record(ToolError),
    /// A writer of the index stopped before the replay was over.
    Stopped,
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero { option } => write!(f, "{option} is 0; it must be at least 1"),
            Self::TooManyWorkers { workers } => {
                write!(f, "workers is {workers}; a replay simulates at most {}", Options::MAX_WORKERS)
            }
            Self::BlockSizes(source) => source.fmt(f),
            Self::UnknownAssign { name } => {
                write!(f, "no assignment is called {name:?}; use random, round-robin or best")
            }
            Self::Index(source) => write!(f, "the index cannot be built: {source}"),
            Self::Trace(source) => source.fmt(f),
            Self::Row { path, line, source } => write!(f, "{}:{line}: {source}", path.display()),
            Self::Record(source) => write!(f, "the record: {source}"),
            Self::Stopped => f.write_str("a writer of the index stopped before the replay was over"),
        }
    }
}

impl error::Error for ReplayError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Index(source) => Some(source),
            Self::Trace(source) => Some(source),
            Self::BlockSizes(source) | Self::Row { source, .. } => Some(source),
            Self::Record(source) => Some(source),
            _ => None,
        }
    }
}
