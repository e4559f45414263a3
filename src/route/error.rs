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
    /// A number that is too small, or not finite, or none.
    OutOfRange {
        /// The setting.
        name: &'static str,
        /// Its value.
        value: f64,
        /// The least that it may be.
        least: f64,
    },
    /// A credit that is negative or not a number.
    Credit {
        /// Of which tier, from 0.
        tier: usize,
        /// The credit.
        credit: f32,
    },
}

/// Why a request was not routed. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// There is no worker.
    NoWorkers,
    /// No worker is available: all were said not to be.
    NoneAvailable,
    /// Every available worker that the request may go to has as many requests as it may have, or the request may go to
    /// none of them.
    NoCandidate,
    /// The policy wanted none of the candidates, or chose somebody else.
    Declined,
    /// The request's mask was made before workers came or went.
    StaleMask,
    /// Answers for more tiers than there are credits, where each answer is that of one tier.
    TooManyTiers {
        /// How many answers there are.
        answers: usize,
        /// How many tiers.
        tiers: usize,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero { name } => write!(f, "{name} is 0; it must be at least 1"),
            Self::OutOfRange { name, value, least } => {
                write!(f, "{name} is {value}; it must be a number, {least} or more")
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
                f.write_str("no available worker that the request may go to has room; try again later")
            }
            Self::Declined => f.write_str("the policy chose none of the candidates"),
            Self::StaleMask => f.write_str("workers came or went since the request's mask was made; make it again"),
            Self::TooManyTiers { answers, tiers } => {
                write!(f, "answers for {answers} tiers, and credits for {tiers}; set a credit for each tier")
            }
        }
    }
}

impl std::error::Error for ConfigError {}
impl std::error::Error for Refusal {}
