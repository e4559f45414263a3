//! Why a sweep did not happen.

use std::{error, fmt, io};

use super::System;

/// Why a sweep did not happen, or did not end.
#[derive(Debug)]
#[non_exhaustive]
pub enum SweepError {
    /// A count that must be positive is zero.
    Zero {
        /// The option, as the command spells it.
        option: &'static str,
    },
    /// No [`System`] has this name.
    UnknownSystem {
        /// What was given.
        name: String,
    },
    /// The schedule has no lookups or no events in its second half, so there is nothing to measure.
    EmptySchedule,
    /// A backend cannot be opened.
    Backend(String),
    /// The load cannot be handed to a trial's process.
    Load(io::Error),
    /// A trial's process cannot be started, ended badly, or said something else than its result.
    Trial {
        /// The backend.
        system: System,
        /// What went wrong.
        what: String,
    },
}

impl fmt::Display for SweepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero { option } => write!(f, "{option} is 0; it must be at least 1"),
            Self::UnknownSystem { name } => {
                let names: Vec<&str> = System::ALL.iter().map(|system| system.name()).collect();
                write!(f, "no backend is called {name:?}; choose from {}", names.join(", "))
            }
            Self::EmptySchedule => {
                f.write_str("the second half of the schedule lacks lookups or events; play more requests")
            }
            Self::Backend(what) => write!(f, "the backend cannot be opened: {what}"),
            Self::Load(source) => write!(f, "the load cannot be handed to a trial: {source}"),
            Self::Trial { system, what } => write!(f, "a trial of {system} failed: {what}"),
        }
    }
}

impl error::Error for SweepError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Load(source) => Some(source),
            _ => None,
        }
    }
}
