//! Admission control: a sliding window over arrivals.

use std::collections::VecDeque;

use super::Refusal;

/// Limits on the arrival rate. Refused requests do not count.
#[derive(Clone, Debug, PartialEq)]
pub struct Rates {
    /// Requests per second, over the window. Default `None`: any number.
    pub requests_per_second: Option<f64>,
    /// Tokens per second, of prompts and answers, over the window. Default `None`: any number.
    pub tokens_per_second: Option<f64>,
    /// Length of the window, which ends when a request arrives. Default one second.
    pub window_ns: u64,
}

impl Default for Rates {
    fn default() -> Self {
        Self { requests_per_second: None, tokens_per_second: None, window_ns: 1_000_000_000 }
    }
}

impl Rates {
    /// What a window admits at this rate.
    #[allow(clippy::cast_sign_loss, reason = "a rate is checked to be positive, and `as` saturates")]
    fn quota(&self, per_second: Option<f64>) -> u64 {
        per_second.map_or(u64::MAX, |rate| (rate * self.window_ns as f64 / 1e9) as u64)
    }

    /// The settings by name, each with its minimum.
    pub(super) fn numbers(&self) -> Vec<(&'static str, f64, f64)> {
        let rates = [
            ("rates.requests_per_second", self.requests_per_second),
            ("rates.tokens_per_second", self.tokens_per_second),
        ];
        rates.into_iter().filter_map(|(name, rate)| Some((name, rate?, f64::MIN_POSITIVE))).collect()
    }
}

/// What was admitted during the last window.
#[derive(Debug)]
pub(super) struct Admission {
    window_ns: u64,
    requests: u64,
    tokens: u64,
    /// Arrival time and tokens of admitted requests; entries older than the window are dropped at the next arrival.
    recent: VecDeque<(u64, u64)>,
    recent_tokens: u64,
}

impl Admission {
    pub(super) fn new(rates: &Rates) -> Self {
        Self {
            window_ns: rates.window_ns,
            requests: rates.quota(rates.requests_per_second),
            tokens: rates.quota(rates.tokens_per_second),
            recent: VecDeque::new(),
            recent_tokens: 0,
        }
    }

    /// Admits a request, or returns why not. `now` must not go back.
    pub(super) fn admit(&mut self, now: u64, tokens: u64) -> Result<(), Refusal> {
        while let Some(&(at, gone)) = self.recent.front()
            && now - at >= self.window_ns
        {
            self.recent.pop_front();
            self.recent_tokens -= gone;
        }
        if self.requests == 0 || tokens > self.tokens {
            return Err(Refusal::NeverAdmitted { tokens, most: if self.requests == 0 { 0 } else { self.tokens } });
        }
        if self.recent.len() as u64 >= self.requests {
            // There is room as soon as the oldest request leaves the window.
            return Err(Refusal::RequestRate { retry_ns: self.recent[0].0 + self.window_ns - now });
        }
        if tokens > self.tokens - self.recent_tokens {
            return Err(Refusal::TokenRate { retry_ns: self.room_for(tokens) - now });
        }
        if self.requests < u64::MAX || self.tokens < u64::MAX {
            self.recent.push_back((now, tokens));
            self.recent_tokens += tokens;
        }
        Ok(())
    }

    /// Returns when enough will have left the window for this many tokens.
    fn room_for(&self, tokens: u64) -> u64 {
        let mut left = self.recent_tokens;
        let enough = self.recent.iter().find(|(_, gone)| {
            left -= gone;
            left + tokens <= self.tokens
        });
        enough.expect("an empty window has room").0 + self.window_ns
    }
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;

    fn admission(requests_per_second: Option<f64>, tokens_per_second: Option<f64>) -> Admission {
        Admission::new(&Rates { requests_per_second, tokens_per_second, window_ns: 1000 })
    }

    #[test]
    fn a_window_never_holds_more_than_its_quota_and_retrying_when_told_succeeds() {
        let mut random = Rng::with_seed(3);
        for (requests, tokens) in [(Some(5e6), None), (None, Some(300e6)), (Some(8e6), Some(300e6))] {
            let mut admission = admission(requests, tokens);
            let mut admitted: Vec<(u64, u64)> = Vec::new();
            let (mut now, mut refused) = (0, 0);
            for _ in 0..2000 {
                now += random.u64(0..150);
                let size = random.u64(1..100);
                let window = || admitted.iter().filter(|(at, _)| at + 1000 > now);
                let fits = requests.is_none_or(|rate| (window().count() as f64) < rate / 1e6)
                    && tokens
                        .is_none_or(|rate| (window().map(|(_, size)| size).sum::<u64>() + size) as f64 <= rate / 1e6);
                match admission.admit(now, size) {
                    Ok(()) => assert!(fits),
                    Err(Refusal::RequestRate { retry_ns } | Refusal::TokenRate { retry_ns }) => {
                        assert!(!fits && retry_ns > 0 && retry_ns <= 1000);
                        refused += 1;
                        continue;
                    }
                    Err(other) => panic!("{other}"),
                }
                admitted.push((now, size));
            }
            assert!(refused > 100 && admitted.len() > 100, "{refused} refused, {} admitted", admitted.len());
        }
    }

    #[test]
    fn the_time_to_retry_is_the_earliest() {
        let mut admission = admission(None, Some(10e6));
        for (now, tokens) in [(0, 4), (10, 4)] {
            assert_eq!(admission.admit(now, tokens), Ok(()));
        }
        assert_eq!(admission.admit(20, 7), Err(Refusal::TokenRate { retry_ns: 990 }), "both must leave");
        assert_eq!(admission.admit(20, 6), Err(Refusal::TokenRate { retry_ns: 980 }), "one must leave");
        assert!(admission.admit(999, 6).is_err());
        assert_eq!(admission.admit(1000, 6), Ok(()));
        assert_eq!(admission.admit(1000, 11), Err(Refusal::NeverAdmitted { tokens: 11, most: 10 }));
    }
}
