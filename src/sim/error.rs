//! Why a simulation did not happen.

use std::{error, fmt};

use super::Traffic;
use crate::mock::{ConfigError, ProfileError};
use crate::route::policy::UnknownPolicy;
use crate::trace::{ExpandError, ToolError, TraceError};

/// Why a simulation did not happen. All of it is found before it begins.
#[derive(Debug)]
#[non_exhaustive]
pub enum SimError {
    /// A count that must be positive is zero.
    Zero {
        /// The option, as the command spells it.
        option: &'static str,
    },
    /// An option is out of its range, or contradicts another one.
    Option {
        /// The option, as the command spells it.
        option: &'static str,
        /// What is wrong, and what to do.
        why: String,
    },
    /// No [`Traffic`] has this name.
    UnknownWorkload {
        /// What was given.
        name: String,
    },
    /// No policy has this name.
    UnknownPolicy(UnknownPolicy),
    /// There is no such model or accelerator.
    Profile(ProfileError),
    /// No engine can be like that.
    Engine(ConfigError),
    /// The requests cannot be made up.
    Workload(ToolError),
    /// The trace cannot be read.
    Trace(TraceError),
    /// The trace's blocks cannot be cut into the engines'.
    BlockSizes(ExpandError),
    /// A request needs more blocks than a worker has.
    TooLong {
        /// The request, from 1.
        request: u64,
        /// What it needs, the answer included.
        blocks: u64,
        /// What a worker has.
        capacity: u32,
    },
}

impl fmt::Display for SimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero { option } => write!(f, "{option} is 0; it must be at least 1"),
            Self::Option { option, why } => write!(f, "{option} {why}"),
            Self::UnknownWorkload { name } => write!(
                f,
                "no workload is called {name:?}; choose from {}, or mix them, as in rag=3,agents=1",
                Traffic::ALL.map(Traffic::name).join(", ")
            ),
            Self::UnknownPolicy(source) => source.fmt(f),
            Self::Profile(source) => source.fmt(f),
            Self::Engine(source) => source.fmt(f),
            Self::Workload(source) => source.fmt(f),
            Self::Trace(source) => source.fmt(f),
            Self::BlockSizes(source) => source.fmt(f),
            Self::TooLong { request, blocks, capacity } => write!(
                f,
                "request {request} needs {blocks} blocks and a worker has {capacity}: take more --blocks or another \
                 --profile"
            ),
        }
    }
}

impl error::Error for SimError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::UnknownPolicy(source) => Some(source),
            Self::Profile(source) => Some(source),
            Self::Engine(source) => Some(source),
            Self::Workload(source) => Some(source),
            Self::Trace(source) => Some(source),
            Self::BlockSizes(source) => Some(source),
            _ => None,
        }
    }
}
