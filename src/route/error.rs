//! Why a router was not set up, or a request not routed.

// `Display` is written by hand here, and in the rest of the embeddable core, so that the default build needs no
// procedural macro.

use std::fmt;

/// Why a router could not be set up.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum ConfigError {
    /// A setting that must be at least 1 is 0.
    Zero {
        /// The setting.
        name: &'static str,
    },
    /// A number that is too small, not finite, or not a number.
    OutOfRange {
        /// The setting.
        name: &'static str,
        /// Its value.
        value: f64,
        /// Its minimum.
        least: f64,
    },
    /// A credit that is negative or not a number.
    Credit {
        /// The tier, from 0.
        tier: usize,
        /// The credit.
        credit: f32,
    },
}

/// Why a request was not routed. The router has not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The router has no worker.
    NoWorkers,
    /// No worker is available: all were marked as unavailable.
    NoneAvailable,
    /// Every available worker that the request may go to is full, or the request may go to none of them.
    NoCandidate,
    /// The policy chose none of the candidates.
    Declined,
    /// Workers have come or gone since the request's mask was made.
    StaleMask,
    /// Each answer covers one tier, and there are more answers than tiers with a credit.
    TooManyTiers {
        /// Number of answers.
        answers: usize,
        /// Number of tiers with a credit.
        tiers: usize,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero { name } => write!(f, "{name} is 0; it must be at least 1"),
            Self::OutOfRange { name, value, least } => {
                write!(f, "{name} is {value}; it must be a number of at least {least}")
            }
            Self::Credit { tier, credit } => {
                write!(f, "the credit of tier {tier} is {credit}; it must be a finite number that is not negative")
            }
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoWorkers => f.write_str("there is no worker; add one first"),
            Self::NoneAvailable => f.write_str("no worker is available"),
            Self::NoCandidate => {
                f.write_str("no available worker that may serve the request has room; try again later")
            }
            Self::Declined => f.write_str("the policy chose none of the candidates"),
            Self::StaleMask => {
                f.write_str("workers have come or gone since the request's mask was made; make a new one")
            }
            Self::TooManyTiers { answers, tiers } => {
                write!(f, "there are answers for {answers} tiers, but credits for {tiers}; set a credit for each tier")
            }
        }
    }
}

impl std::error::Error for ConfigError {}
impl std::error::Error for Refusal {}
