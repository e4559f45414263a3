//! Why there is no schedule.

use std::path::PathBuf;
use std::{error, fmt};

use crate::mock::{ConfigError, Refusal};
use crate::replay::Options;
use crate::trace::{ExpandError, TraceError};

/// Why there is no schedule.
#[derive(Debug)]
#[non_exhaustive]
pub enum PartitionError {
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
    /// No engine can be like that.
    Engine(ConfigError),
    /// The trace's blocks cannot be cut into the engine's.
    BlockSizes(ExpandError),
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
    /// A row of the trace is earlier than the one before.
    Unsorted {
        /// The trace.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// Its time.
        timestamp: u64,
        /// The time of the row before.
        before: u64,
    },
    /// An id of the trace follows two different ids, so that it does not stand for one prefix.
    TwoParents {
        /// The trace.
        path: PathBuf,
        /// The line of the second, from 1.
        line: u64,
        /// The id.
        id: u64,
        /// What it follows: in an earlier row, or earlier in this one, and here; `None` where a prompt begins.
        parents: [Option<u64>; 2],
    },
    /// A request needs more blocks than a worker has.
    TooLong {
        /// The request, from 1.
        request: u64,
        /// What it needs, the answer included.
        blocks: u64,
        /// What a worker has.
        capacity: u32,
    },
    /// An engine did not take a request.
    Refused {
        /// The request, from 1, in the order of arrival, copies counted.
        request: u64,
        /// Why.
        source: Refusal,
    },
}

impl fmt::Display for PartitionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = |parent: &Option<u64>| parent.map_or("the beginning".to_owned(), |id| format!("id {id}"));
        match self {
            Self::Zero { option } => write!(f, "{option} is 0; it must be at least 1"),
            Self::TooManyWorkers { workers } => {
                write!(f, "workers is {workers}; a fleet has at most {}", Options::MAX_WORKERS)
            }
            Self::Engine(source) => write!(f, "the workers cannot be simulated: {source}"),
            Self::BlockSizes(source) => source.fmt(f),
            Self::Trace(source) => source.fmt(f),
            Self::Row { path, line, source } => write!(f, "{}:{line}: {source}", path.display()),
            Self::Unsorted { path, line, timestamp, before } => write!(
                f,
                "{}:{line}: the timestamp {timestamp} is before that of the row before, {before}: sort the trace by \
                 timestamp",
                path.display()
            ),
            Self::TwoParents { path, line, id: child, parents: [first, second] } => write!(
                f,
                "{}:{line}: id {child} follows {} here and {} before: an id must stand for one block and its whole \
                 prefix; make the ids anew",
                path.display(),
                id(second),
                id(first)
            ),
            Self::TooLong { request, blocks, capacity } => write!(
                f,
                "request {request} needs {blocks} blocks and a worker has {capacity}: give workers more blocks, or \
                 choose larger blocks or a smaller length factor"
            ),
            Self::Refused { request, source } => {
                write!(f, "request {request} was refused by its worker: {source}")
            }
        }
    }
}

impl error::Error for PartitionError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Engine(source) => Some(source),
            Self::Trace(source) => Some(source),
            Self::BlockSizes(source) | Self::Row { source, .. } => Some(source),
            Self::Refused { source, .. } => Some(source),
            _ => None,
        }
    }
}
