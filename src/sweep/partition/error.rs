//! Why there is no schedule.

use std::path::PathBuf;

use thiserror::Error;

use crate::mock::{ConfigError, Refusal};
use crate::replay::Options;
use crate::trace::{ExpandError, TraceError};

/// Why there is no schedule.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PartitionError {
    /// A count that must be positive is zero.
    #[error("--{option} is 0; it must be at least 1")]
    Zero {
        /// The option, as the command spells it.
        option: &'static str,
    },
    /// There are more workers than [`Options::MAX_WORKERS`].
    #[error("--workers is {workers}; a fleet has at most {}", Options::MAX_WORKERS)]
    TooManyWorkers {
        /// How many were asked for.
        workers: u32,
    },
    /// Engines like these cannot be simulated.
    #[error("the workers cannot be simulated: {0}")]
    Engine(#[source] ConfigError),
    /// The trace's blocks cannot be cut into the engines'.
    #[error("{0}")]
    BlockSizes(#[source] ExpandError),
    /// The trace cannot be read.
    #[error("{0}")]
    Trace(#[source] TraceError),
    /// An id of the trace follows two different ids, so it does not stand for one prefix.
    #[error(
        "{}:{line}: id {id} follows {} here and {} before, but must stand for one block and its whole prefix: \
         `kvleap trace convert --chain` makes such ids",
        path.display(),
        named(parents[1]),
        named(parents[0])
    )]
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
    #[error(
        "request {request} needs {blocks} blocks and a worker has {capacity}: give workers more --blocks, or choose a \
         larger --block-size or a smaller --length-factor"
    )]
    TooLong {
        /// The request, from 1.
        request: u64,
        /// The blocks it needs, with its answer.
        blocks: u64,
        /// The blocks of a worker.
        capacity: u32,
    },
    /// An engine did not accept a request.
    #[error("request {request} was refused by its worker: {source}")]
    Refused {
        /// The request, from 1, in the order of arrival, copies counted.
        request: u64,
        /// Why.
        source: Refusal,
    },
}

fn named(parent: Option<u64>) -> String {
    parent.map_or("the beginning".to_owned(), |id| format!("id {id}"))
}
