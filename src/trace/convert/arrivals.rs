//! Start times for sessions that were recorded one by one.

use fastrand::Rng;

use crate::trace::ToolError;

/// When sessions start, and the times within them that are not recorded.
#[derive(Clone, Debug)]
pub struct Arrivals {
    /// Sessions per second, in a Poisson process; the first starts at 0. Above 0, default 1.
    pub rate: f64,
    /// Mean of the exponentially distributed seconds between the requests of a session, if they are not recorded.
    /// Default 30.
    pub pause: f64,
    /// Equal seeds give equal times. Default 0.
    pub seed: u64,
}

impl Default for Arrivals {
    fn default() -> Self {
        Self { rate: 1.0, pause: 30.0, seed: 0 }
    }
}

impl Arrivals {
    pub(super) fn check(&self) -> Result<(), ToolError> {
        for (option, value, least) in [("--rate", self.rate, f64::MIN_POSITIVE), ("--pause", self.pause, 0.0)] {
            if !(least..=1e6).contains(&value) {
                return Err(ToolError::Option { option, why: format!("is {value}; it must be between 0 and 1000000") });
            }
        }
        Ok(())
    }
}

/// Draws times, in milliseconds.
#[derive(Debug)]
pub(super) struct SessionTimes {
    arrivals: Arrivals,
    random: Rng,
    next: f64,
}

impl SessionTimes {
    pub(super) fn new(arrivals: &Arrivals) -> Result<Self, ToolError> {
        arrivals.check()?;
        Ok(Self { random: Rng::with_seed(arrivals.seed), next: 0.0, arrivals: arrivals.clone() })
    }

    /// Draws when the next session starts.
    pub(super) fn begin(&mut self) -> f64 {
        let now = self.next;
        self.next += self.exponential(1e3 / self.arrivals.rate);
        now
    }

    /// Draws the time from one request of a session to the next.
    #[cfg(feature = "tokenizer")]
    pub(super) fn pause(&mut self) -> f64 {
        self.exponential(1e3 * self.arrivals.pause)
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.random.f64()).ln()
    }
}
