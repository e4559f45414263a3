//! What is asked of the fleet, and when.

mod arrivals;
mod requests;
mod traffic;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::SimError;

pub(super) use requests::{Request, Requests};
pub use traffic::{Mix, Traffic};

/// What is asked of the fleet, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// Where the requests come from. Default [`Traffic::Conversations`].
    pub source: Source,
    /// How many of them. Default `None`: all of a trace; where they are made up, [`Workload::REQUESTS`], or
    /// [`Workload::REQUESTS_PER_WORKER`] for every worker if that is more.
    pub requests: Option<u64>,
    /// Requests a second. Default `None`: a trace's own times, and [`Workload::RATE`] for every worker where requests
    /// are made up. A rate makes the times of a trace anew, as a Poisson process.
    pub rate: Option<f64>,
    /// A trace's own times run this much faster. Default 1.
    pub speedup: f64,
    /// When the next request of a session comes. Default `None`: [`Sessions::Closed`] where requests are made up,
    /// [`Sessions::Open`] for a trace.
    pub sessions: Option<Sessions>,
    /// Requests, or sessions where they are closed, come in bursts. Default not.
    pub bursts: Option<Bursts>,
    /// Models, one of which each worker serves, and each session asks for. Default 1.
    pub models: u32,
    /// Adapters of each model, any of which a worker serves; equal tokens under different ones are different blocks.
    /// Default 1.
    pub adapters: u32,
}

impl Workload {
    /// Requests a second that are made up for every worker.
    pub const RATE: f64 = 4.0;
    /// The most requests that one simulation plays.
    pub const MAX_REQUESTS: u64 = 1 << 28;
    /// Requests that are made up unless the options say otherwise, for a small fleet.
    pub const REQUESTS: u64 = 10_000;
    /// And for a large one.
    pub const REQUESTS_PER_WORKER: u64 = 200;
}

impl Default for Workload {
    fn default() -> Self {
        Self {
            source: Source::Mix(Mix::from(Traffic::Conversations)),
            requests: None,
            rate: None,
            speedup: 1.0,
            sessions: None,
            bursts: None,
            models: 1,
            adapters: 1,
        }
    }
}

/// Where requests come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// They are made up.
    Mix(Mix),
    /// A trace; see [`trace`](crate::trace).
    Trace {
        /// The file.
        path: PathBuf,
        /// Tokens that one id of the trace stands for.
        block_size: u32,
    },
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mix(mix) => mix.fmt(f),
            Self::Trace { path, .. } => path.display().fmt(f),
        }
    }
}

/// When the next request of a session comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sessions {
    /// At its time, answered or not.
    Open,
    /// After the answer to the one before, by the time that lies between the two in the workload. What is slow is then
    /// asked less.
    Closed,
}

/// Everything comes in the first part of every period, so much faster; nothing in the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bursts {
    /// How long requests come. Above 0.
    pub on: Duration,
    /// How long none come then.
    pub off: Duration,
}

impl Workload {
    /// Whether the settings make sense together.
    pub(super) fn check(&self) -> Result<(), SimError> {
        let counts = [
            ("--models", u64::from(self.models)),
            ("--adapters", u64::from(self.adapters)),
            ("--requests", self.requests.unwrap_or(1)),
        ];
        if let Some(&(option, _)) = counts.iter().find(|(_, count)| *count == 0) {
            return Err(SimError::Zero { option });
        }
        let most = [
            ("--requests", self.requests.unwrap_or(1), Self::MAX_REQUESTS),
            ("--models", self.models.into(), 1 << 16),
            ("--adapters", self.adapters.into(), 1 << 16),
        ];
        if let Some(&(option, value, most)) = most.iter().find(|(_, value, most)| value > most) {
            return Err(SimError::Option { option, why: format!("is {value}; at most {most} are possible") });
        }
        let range = |option, value: f64| {
            let why = format!("is {value}; it must be above 0 and at most 1000000");
            if value > 0.0 && value <= 1e6 { Ok(()) } else { Err(SimError::Option { option, why }) }
        };
        range("--rate", self.rate.unwrap_or(1.0))?;
        range("--speedup", self.speedup)?;
        if self.bursts.is_some_and(|bursts| bursts.on.is_zero()) {
            return Err(SimError::Zero { option: "--burst" });
        }
        let made_up = matches!(self.source, Source::Mix(_));
        if self.speedup != 1.0 && (made_up || self.rate.is_some()) {
            let why = "means something only for the own times of a trace: use --rate alone".to_owned();
            return Err(SimError::Option { option: "--speedup", why });
        }
        Ok(())
    }

    fn closed(&self) -> bool {
        let default = if matches!(self.source, Source::Mix(_)) { Sessions::Closed } else { Sessions::Open };
        self.sessions.unwrap_or(default) == Sessions::Closed
    }

    /// How requests arrive, for people.
    pub(super) fn arrivals(&self, workers: u32) -> String {
        let times = match (&self.source, self.rate) {
            (_, Some(rate)) => format!("Poisson, {rate} requests/s"),
            (Source::Mix(_), None) => format!("Poisson, {} requests/s", Self::RATE * f64::from(workers)),
            (Source::Trace { .. }, None) if self.speedup == 1.0 => "at the trace's times".to_owned(),
            (Source::Trace { .. }, None) => format!("at the trace's times, {} times as fast", self.speedup),
        };
        let sessions = if self.closed() { "; a session waits for its answers" } else { "" };
        let bursts = self.bursts.map_or(String::new(), |Bursts { on, off }| {
            format!("; {} s on, {} s off", on.as_secs_f64(), off.as_secs_f64())
        });
        times + sessions + &bursts
    }
}
