//! How a router is set up.

use super::policy::{CostBased, Policy};
use super::{ConfigError, Prediction, Router};

/// Settings of a [`Router`].
#[derive(Debug)]
pub struct Builder {
    pub(super) policy: Box<dyn Policy>,
    pub(super) block_size: u32,
    pub(super) credits: Vec<f32>,
    pub(super) max_requests: u32,
    pub(super) request_timeout_ns: u64,
    pub(super) prediction: Option<Prediction>,
    pub(super) seed: u64,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            policy: Box::new(CostBased::default()),
            block_size: 16,
            credits: vec![1.0],
            max_requests: u32::MAX,
            request_timeout_ns: 600_000_000_000,
            prediction: None,
            seed: 0,
        }
    }
}

impl Builder {
    /// Who chooses. Default [`CostBased`] with its own defaults.
    #[must_use]
    pub fn policy(mut self, policy: Box<dyn Policy>) -> Self {
        self.policy = policy;
        self
    }

    /// Tokens in a block. Default 16.
    #[must_use]
    pub fn block_size(mut self, tokens: u32) -> Self {
        self.block_size = tokens;
        self
    }

    /// What a held block saves in each tier of storage, the fastest first, as a part of computing it. Default `[1.0]`:
    /// the device only. `[1.0, 0.7, 0.3]` would be device, host and disk.
    #[must_use]
    pub fn credits(mut self, by_tier: Vec<f32>) -> Self {
        self.credits = by_tier;
        self
    }

    /// How many requests a worker may have in flight before it is no candidate. Default no limit.
    #[must_use]
    pub fn max_requests(mut self, requests: u32) -> Self {
        self.max_requests = requests;
        self
    }

    /// After how many nanoseconds without a call about it a request counts as lost. Default 10 minutes.
    #[must_use]
    pub fn request_timeout_ns(mut self, timeout_ns: u64) -> Self {
        self.request_timeout_ns = timeout_ns;
        self
    }

    /// What is thought of workers before they publish an event, or instead of it. Default `None`: nothing. It makes a
    /// decision look up twice, and entering one cost a step per block of the prompt.
    #[must_use]
    pub fn prediction(mut self, prediction: Option<Prediction>) -> Self {
        self.prediction = prediction;
        self
    }

    /// Equal seeds, equal choices. Default 0.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// A router without workers.
    ///
    /// # Errors
    /// A setting out of its range.
    pub fn build(self) -> Result<Router, ConfigError> {
        if self.block_size == 0 {
            return Err(ConfigError::Zero { name: "block_size" });
        }
        if self.max_requests == 0 {
            return Err(ConfigError::Zero { name: "max_requests" });
        }
        if self.prediction.is_some_and(|prediction| prediction.blocks_per_worker == 0) {
            return Err(ConfigError::Zero { name: "prediction.blocks_per_worker" });
        }
        if self.credits.is_empty() {
            return Err(ConfigError::Zero { name: "tiers with credits" });
        }
        let unfit = |&(_, &credit): &(usize, &f32)| !(credit.is_finite() && credit >= 0.0);
        if let Some((tier, &credit)) = self.credits.iter().enumerate().find(unfit) {
            return Err(ConfigError::Credit { tier, credit });
        }
        Ok(Router::new(self))
    }
}
