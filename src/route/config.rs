//! Settings of a router.

use super::overlap::Split;
use super::policy::{CostBased, Policy};
use super::{ConfigError, Prediction, Router};
use crate::event::Worker;

/// Settings of a [`Router`].
#[derive(Debug)]
pub struct Builder {
    pub(super) policy: Box<dyn Policy>,
    pub(super) block_size: u32,
    pub(super) credits: Vec<f32>,
    pub(super) split_tiers: Option<Split>,
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
            split_tiers: None,
            max_requests: u32::MAX,
            request_timeout_ns: 600_000_000_000,
            prediction: None,
            seed: 0,
        }
    }
}

impl Builder {
    /// The policy that chooses. Default [`CostBased`] with its own defaults.
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

    /// Sets what a held block saves in each tier, the fastest first, as a share of computing it. Default `[1.0]`:
    /// the device only. `[1.0, 0.7, 0.3]` would be device, host and disk. For the formula, see
    /// [tiers](crate::route#tiers).
    #[must_use]
    pub fn credits(mut self, by_tier: Vec<f32>) -> Self {
        self.credits = by_tier;
        self
    }

    /// Makes every answer cover all tiers: it comes from one index in which a slower tier of a worker is a worker of
    /// its own, so that one lookup finds them all. `split` maps a worker of an answer to a worker of the fleet and its
    /// tier, 0 being the fastest. Default: each answer covers one tier, and its workers are those of the fleet.
    ///
    /// A decision may then be given any number of answers. If several are about the same tier of the same worker, the
    /// deepest counts. A tier without a [credit](Builder::credits) is ignored: its blocks do not count as held. `split`
    /// must always return the same for a worker. It is called when workers have come or gone, not for every decision.
    ///
    /// ```
    /// use kvleap::route::{Request, Router};
    /// use kvleap::{Block, Event, EventData, Index, Matches, Worker};
    ///
    /// /// The upper bits of the rank name the tier.
    /// fn split(worker: Worker) -> (Worker, usize) {
    ///     (Worker::new(worker.id, worker.dp_rank & 0xffff), (worker.dp_rank >> 16) as usize)
    /// }
    ///
    /// let mut router = Router::builder().credits(vec![1.0, 0.5]).split_tiers(split).build()?;
    /// router.add_worker(Worker::new(7, 0));
    ///
    /// // Worker 7 has two blocks in device memory, and a third in host memory.
    /// let (mut writer, reader) = Index::builder().build_local()?;
    /// for (dp_rank, depth) in [(0, 2), (1 << 16, 3)] {
    ///     let blocks = (1..=depth).map(|local| Block { sequence: local, local }).collect();
    ///     let data = EventData::Stored { parent: None, blocks };
    ///     writer.apply(&Event { worker: Worker::new(7, dp_rank), id: 0, data })?;
    /// }
    /// writer.publish();
    ///
    /// let prompt = [1, 2, 3, 4];
    /// let mut matches = Matches::new();
    /// reader.find(&prompt, &mut matches);
    /// let explained = router.explain(&Request { blocks: &prompt, ..Request::default() }, &[&matches], 0)?;
    /// let considered = explained.candidates[0];
    /// assert_eq!((considered.worker, considered.held), (Worker::new(7, 0), 3));
    /// assert_eq!(considered.credit, 2.0 * 1.0 + 1.0 * 0.5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn split_tiers(mut self, split: fn(Worker) -> (Worker, usize)) -> Self {
        self.split_tiers = Some(split);
        self
    }

    /// The most requests that a worker may have in flight; at that number it is no candidate. Default no limit.
    #[must_use]
    pub fn max_requests(mut self, requests: u32) -> Self {
        self.max_requests = requests;
        self
    }

    /// How many nanoseconds may pass without a call about a request before it expires. Default 10 minutes.
    #[must_use]
    pub fn request_timeout_ns(mut self, timeout_ns: u64) -> Self {
        self.request_timeout_ns = timeout_ns;
        self
    }

    /// Predicts what workers hold until they publish it, or because they never do. Default `None`. A decision then
    /// takes a second lookup, and entering one costs a step for each block of the prompt.
    #[must_use]
    pub fn prediction(mut self, prediction: Option<Prediction>) -> Self {
        self.prediction = prediction;
        self
    }

    /// Seeds the random choices: equal seeds give equal choices. Default 0.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Builds a router without workers.
    ///
    /// # Errors
    /// [`ConfigError`] if a setting is out of range.
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
