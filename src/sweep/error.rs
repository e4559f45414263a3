//! Why a sweep did not happen.

use std::io;

use thiserror::Error;

use super::System;

/// Why a sweep did not start, or did not finish.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SweepError {
    /// A count that must be positive is zero.
    #[error("--{option} is 0; it must be at least 1")]
    Zero {
        /// The option, as the command spells it.
        option: &'static str,
    },
    /// No [`System`] has this name.
    #[error("there is no backend {name:?}; choose from {}", System::ALL.map(System::name).join(", "))]
    UnknownSystem {
        /// The name that was given.
        name: String,
    },
    /// The schedule has no lookups or no events in its second half, so there is nothing to measure.
    #[error("the second half of the schedule lacks lookups or events; play more requests")]
    EmptySchedule,
    /// A backend cannot be opened.
    #[error("the backend cannot be opened: {0}")]
    Backend(String),
    /// The load cannot be handed to a trial's process.
    #[error("the load cannot be handed to a trial: {0}")]
    Load(#[source] io::Error),
    /// A trial's process cannot be started, failed, or did not print its result.
    #[error("a trial of {system} failed: {what}")]
    Trial {
        /// The backend.
        system: System,
        /// What went wrong.
        what: String,
    },
    /// The process was told to end its trials.
    #[error("the sweep was interrupted")]
    Interrupted,
}
