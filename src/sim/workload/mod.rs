//! The requests to the fleet, and when they arrive.

mod arrivals;
mod requests;
mod traffic;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::SimError;

pub(super) use requests::{Request, Requests};
pub use traffic::{Mix, Traffic};

/// The requests to the fleet, and when they arrive.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// Where the requests come from. Default [`Traffic::Conversations`].
    pub source: Source,
    /// Number of requests. Default `None`: the whole trace; for generated requests, [`Workload::REQUESTS`], or
    /// [`Workload::REQUESTS_PER_WORKER`] for each worker if that is more.
    pub requests: Option<u64>,
    /// Requests per second; for sessions, once as many end as start. Default `None`: the times of a trace, and
    /// [`Workload::RATE`] for each worker if requests are generated. A rate replaces the times of a trace by a Poisson
    /// process.
    pub rate: Option<f64>,
    /// Factor by which the times of a trace run faster. Default `None`: 1.
    pub speedup: Option<f64>,
    /// When the next request of a session arrives. Default `None`: [`Sessions::Closed`] for generated requests,
    /// [`Sessions::Open`] for a trace.
    pub sessions: Option<Sessions>,
    /// Lets requests, or sessions if they are closed, arrive in bursts. Default `None`.
    pub bursts: Option<Bursts>,
    /// Number of models. Each worker serves one of them, and each session asks for one. Default 1.
    pub models: u32,
    /// Number of adapters for each model. A worker serves all of them; equal tokens with different adapters are
    /// different blocks. Default 1.
    pub adapters: u32,
}

impl Workload {
    /// Default rate of generated requests: requests per second for each worker.
    pub const RATE: f64 = 4.0;
    /// The most requests in a simulation.
    pub const MAX_REQUESTS: u64 = 1 << 28;
    /// Default number of generated requests for a small fleet.
    pub const REQUESTS: u64 = 10_000;
    /// Default number of generated requests for each worker of a large fleet.
    pub const REQUESTS_PER_WORKER: u64 = 200;
}

impl Default for Workload {
    fn default() -> Self {
        Self {
            source: Source::Mix(Mix::from(Traffic::Conversations)),
            requests: None,
            rate: None,
            speedup: None,
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
    /// They are generated.
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

/// When the next request of a session arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sessions {
    /// At its time in the workload, whether the previous one has been answered or not.
    Open,
    /// After the answer to the previous one, by the time between the two in the workload. A slower fleet then gets
    /// fewer requests per second.
    Closed,
}

/// Bursts: all requests of a period arrive in its first part, at a higher rate, and none in the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bursts {
    /// How long requests arrive. Above 0.
    pub on: Duration,
    /// How long none arrive after that.
    pub off: Duration,
}

impl Workload {
    /// Checks that the settings are in range and consistent with each other.
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
            return Err(SimError::Option { option, why: format!("is {value}; it must be at most {most}") });
        }
        let range = |option, value: f64| {
            let why = format!("is {value}; it must be above 0 and at most 1000000");
            if value > 0.0 && value <= 1e6 { Ok(()) } else { Err(SimError::Option { option, why }) }
        };
        range("--rate", self.rate.unwrap_or(1.0))?;
        range("--speedup", self.speedup.unwrap_or(1.0))?;
        if self.bursts.is_some_and(|bursts| bursts.on.is_zero()) {
            return Err(SimError::Zero { option: "--burst" });
        }
        let made_up = matches!(self.source, Source::Mix(_));
        if self.speedup.is_some() && (made_up || self.rate.is_some()) {
            let why = "applies only to the times of a trace, which --rate replaces: use one of the two".to_owned();
            return Err(SimError::Option { option: "--speedup", why });
        }
        Ok(())
    }

    fn closed(&self) -> bool {
        let default = if matches!(self.source, Source::Mix(_)) { Sessions::Closed } else { Sessions::Open };
        self.sessions.unwrap_or(default) == Sessions::Closed
    }

    /// Describes how requests arrive.
    pub(super) fn arrivals(&self, workers: u32) -> String {
        let times = match (&self.source, self.rate) {
            (_, Some(rate)) => format!("Poisson, {rate} requests/s"),
            (Source::Mix(_), None) => format!("Poisson, {} requests/s", Self::RATE * f64::from(workers)),
            (Source::Trace { .. }, None) => {
                let faster = self.speedup.map_or(String::new(), |factor| format!(", {factor} times as fast"));
                "at the trace's times".to_owned() + &faster
            }
        };
        let sessions = if self.closed() { "; each session waits for its answers" } else { "" };
        let bursts = self.bursts.map_or(String::new(), |Bursts { on, off }| {
            format!("; {} s on, {} s off", on.as_secs_f64(), off.as_secs_f64())
        });
        times + sessions + &bursts
    }
}
