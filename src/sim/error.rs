//! Why a simulation could not start.

use thiserror::Error;

use super::Traffic;
use crate::mock::{ConfigError, ProfileError};
use crate::route::policy::UnknownPolicy;
use crate::trace::{ExpandError, ToolError, TraceError};

/// Why a simulation could not start. Everything is checked before the first request is played.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SimError {
    /// A count that must be positive is zero.
    #[error("{option} is 0; it must be at least 1")]
    Zero {
        /// The option, as it is written on the command line.
        option: &'static str,
    },
    /// An option is out of range, or contradicts another one.
    #[error("{option} {why}")]
    Option {
        /// The option, as it is written on the command line.
        option: &'static str,
        /// The reason, and what to do.
        why: String,
    },
    /// No [`Traffic`] has this name.
    #[error(
        "no workload is called {name:?}; choose from {}, or mix them, as in rag=3,agents=1",
        Traffic::ALL.map(Traffic::name).join(", ")
    )]
    UnknownWorkload {
        /// The name that was given.
        name: String,
    },
    /// No policy has this name.
    #[error(transparent)]
    UnknownPolicy(#[from] UnknownPolicy),
    /// The model or the accelerator is not known, or the model does not fit.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The settings of the engines are out of range.
    #[error(transparent)]
    Engine(#[from] ConfigError),
    /// The workload cannot be generated.
    #[error(transparent)]
    Workload(#[from] ToolError),
    /// The trace cannot be read.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// The trace's blocks cannot be cut into the engines'.
    #[error(transparent)]
    BlockSizes(#[from] ExpandError),
    /// A request needs more blocks than a worker has.
    #[error(
        "request {request} needs {blocks} blocks, but a worker has {capacity}: raise --blocks or choose another \
         --profile"
    )]
    TooLong {
        /// The request, from 1.
        request: u64,
        /// Blocks that it needs, including those of the answer.
        blocks: u64,
        /// Blocks that a worker has.
        capacity: u32,
    },
}
