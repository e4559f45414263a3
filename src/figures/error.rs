//! Why there is no figure.

use std::path::PathBuf;
use std::{error, fmt, io};

use super::Topic;
use crate::index::{Closed, ConfigError};
use crate::report::FigureError;
use crate::sweep::{PartitionError, SweepError};
use crate::trace::TraceError;

/// Why a figure was not made.
#[derive(Debug)]
#[non_exhaustive]
pub enum FiguresError {
    /// No figure has this name or number.
    UnknownFigure {
        /// What was given.
        name: String,
    },
    /// The simulated fleet cannot be: a trace that cannot be read, for instance.
    Fleet(PartitionError),
    /// The record of a replay cannot be read.
    Record(TraceError),
    /// The index cannot be built.
    Index(ConfigError),
    /// A writer of the index stopped in the middle of the run.
    Stopped(Closed),
    /// The sweep failed.
    Sweep(SweepError),
    /// A file with saved data is not there, or is none.
    Saved {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The data are not enough for a figure.
    Empty {
        /// The figure.
        topic: Topic,
        /// What is missing.
        what: &'static str,
    },
    /// It cannot be drawn.
    Drawing(FigureError),
    /// A file cannot be written.
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl fmt::Display for FiguresError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownFigure { name } => {
                let names = Topic::ALL.map(|topic| format!("{} ({topic})", topic.number()));
                write!(f, "there is no figure {name:?}; choose from {}", names.join(", "))
            }
            Self::Fleet(source) => source.fmt(f),
            Self::Record(source) => source.fmt(f),
            Self::Index(source) => write!(f, "the index cannot be built: {source}"),
            Self::Stopped(_) => f.write_str("a writer of the index stopped in the middle of the run"),
            Self::Sweep(source) => write!(f, "the sweep: {source}"),
            Self::Saved { path, why } => write!(f, "{}: {why}", path.display()),
            Self::Empty { topic, what } => {
                write!(f, "figure {} ({topic}) has nothing to show: {what}", topic.number())
            }
            Self::Drawing(source) => source.fmt(f),
            Self::File { path, source } => write!(f, "{}: cannot be written: {source}", path.display()),
        }
    }
}

impl error::Error for FiguresError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Fleet(source) => Some(source),
            Self::Record(source) => Some(source),
            Self::Index(source) => Some(source),
            Self::Stopped(source) => Some(source),
            Self::Sweep(source) => Some(source),
            Self::Drawing(source) => Some(source),
            Self::File { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<PartitionError> for FiguresError {
    fn from(source: PartitionError) -> Self {
        Self::Fleet(source)
    }
}

impl From<ConfigError> for FiguresError {
    fn from(source: ConfigError) -> Self {
        Self::Index(source)
    }
}

impl From<Closed> for FiguresError {
    fn from(source: Closed) -> Self {
        Self::Stopped(source)
    }
}

impl From<SweepError> for FiguresError {
    fn from(source: SweepError) -> Self {
        Self::Sweep(source)
    }
}

impl From<FigureError> for FiguresError {
    fn from(source: FigureError) -> Self {
        Self::Drawing(source)
    }
}
