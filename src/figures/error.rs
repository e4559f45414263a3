//! Why a figure was not made.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::Topic;
use crate::index::{Closed, ConfigError};
use crate::report::FigureError;
use crate::sweep::{PartitionError, SweepError};
use crate::trace::TraceError;

/// Why a figure was not made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FiguresError {
    /// No figure has this name or number.
    #[error("there is no figure {name:?}; choose from {}", names())]
    UnknownFigure {
        /// The name that was given.
        name: String,
    },
    /// The simulated fleet cannot be set up: its trace cannot be read, for instance.
    #[error(transparent)]
    Fleet(#[from] PartitionError),
    /// The record of a replay cannot be read.
    #[error(transparent)]
    Record(TraceError),
    /// The index cannot be built.
    #[error("the index cannot be built: {0}")]
    Index(#[from] ConfigError),
    /// A writer of the index stopped in the middle of the run.
    #[error("a writer of the index stopped in the middle of the run")]
    Stopped(#[from] Closed),
    /// The sweep failed.
    #[error("the sweep failed: {0}")]
    Sweep(#[from] SweepError),
    /// A file with saved data cannot be used.
    #[error("{}: {why}", path.display())]
    Saved {
        /// The file.
        path: PathBuf,
        /// The reason.
        why: String,
    },
    /// There is nothing to show in the figure.
    #[error("figure {} ({topic}) has nothing to show: {what}", topic.number())]
    Empty {
        /// The figure.
        topic: Topic,
        /// What is missing.
        what: &'static str,
    },
    /// The figure cannot be drawn.
    #[error(transparent)]
    Drawing(#[from] FigureError),
    /// A file cannot be written.
    #[error("{}: cannot be written: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
}

/// Every figure by number and name.
fn names() -> String {
    Topic::ALL.map(|topic| format!("{} ({topic})", topic.number())).join(", ")
}
