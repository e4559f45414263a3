//! What to simulate.

use super::{SimError, Workload, World};
use crate::mock::{Config, Copies, Engine, Latency, Profile};
use crate::Worker;
use crate::route::policy::{self, CostBased, Policy, UnknownPolicy};

/// What to simulate.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// What is asked of the fleet.
    pub workload: Workload,
    /// Workers at the beginning, with the ids 0, 1, ...; at most [`Options::MAX_WORKERS`]. Default 8.
    pub workers: u32,
    /// Model and accelerator of each worker. Default `llama-3.1-8b@h100-80g`.
    pub profile: String,
    /// Tokens in a block. Default 64.
    pub block_size: u32,
    /// Blocks that a worker can cache. Default `None`: what the profile has memory for.
    pub blocks: Option<u32>,
    /// How long a step takes. Default `None`: what the profile's [`Roofline`](crate::mock::Roofline) says.
    pub latency: Option<Latency>,
    /// What goes wrong.
    pub world: World,
    /// Policies to compare, by name. Default all.
    pub policies: Vec<&'static str>,
    /// The temperature of the policy `cost`, in blocks. Default 0.
    pub temperature: f64,
    /// What all that is drawn depends on: equal seeds, equal reports. Default 0.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            workload: Workload::default(),
            workers: 8,
            profile: "llama-3.1-8b@h100-80g".to_owned(),
            block_size: 64,
            blocks: None,
            latency: None,
            world: World::default(),
            policies: policy::NAMES.to_vec(),
            temperature: 0.0,
            seed: 0,
        }
    }
}

impl Options {
    /// The widest fleet that is simulated.
    pub const MAX_WORKERS: u32 = 1 << 16;

    /// The policy of this name, as [`Options::policies`] has them.
    ///
    /// # Errors
    /// [`SimError::UnknownPolicy`], which names the choices.
    pub fn policy(name: &str) -> Result<&'static str, SimError> {
        let known = policy::NAMES.into_iter().find(|known| *known == name);
        known.ok_or_else(|| SimError::UnknownPolicy(UnknownPolicy { name: name.to_owned() }))
    }

    /// The policy with its settings.
    pub(super) fn build_policy(&self, name: &str) -> Result<Box<dyn Policy>, SimError> {
        let built = policy::by_name(name).map_err(SimError::UnknownPolicy)?;
        Ok(if built.name() == COST {
            let mut cost = CostBased::default();
            cost.temperature = self.temperature as f32;
            Box::new(cost)
        } else {
            built
        })
    }

    /// Whether the options make sense together. What a workload is like shows only when it is made.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), SimError> {
        self.workload.check()?;
        self.world.check(self.workers)?;
        let counts = [("--workers", self.workers == 0), ("--policy", self.policies.is_empty())];
        if let Some(&(option, _)) = counts.iter().find(|(_, zero)| *zero) {
            return Err(SimError::Zero { option });
        }
        let fail = |option, why| Err(SimError::Option { option, why });
        if self.workers > Self::MAX_WORKERS {
            let why = format!("is {}; at most {} are simulated", self.workers, Self::MAX_WORKERS);
            return fail("--workers", why);
        }
        if self.workload.models > self.workers {
            let why = format!("is {}, more than the {} workers: some would be served by nobody", self.workload.models, self.workers);
            return fail("--models", why);
        }
        if !(0.0..=1e9).contains(&self.temperature) {
            return fail("--temperature", format!("is {}; it must be between 0 and 1000000000", self.temperature));
        }
        if self.temperature > 0.0 && !self.policies.contains(&COST) {
            return fail("--temperature", "is set, but no policy that has one is compared: add cost".to_owned());
        }
        for name in &self.policies {
            self.build_policy(name)?;
        }
        self.engine().map(|_| ())
    }

    /// What each worker is like, and how many accelerators it has.
    pub(super) fn engine(&self) -> Result<(Config, u32), SimError> {
        if self.block_size == 0 {
            return Err(SimError::Zero { option: "--block-size" });
        }
        let profile: Profile = self.profile.parse().map_err(SimError::Profile)?;
        let profile = Profile { block_size: self.block_size, ..profile };
        let config = profile.config().map_err(SimError::Profile)?;
        let blocks = self.blocks.unwrap_or(config.blocks);
        // A listener then knows exactly what is cached.
        let latency = self.latency.clone().unwrap_or(config.latency);
        let config = Config { blocks, latency, copies: Copies::Merged, ..config };
        if blocks == 0 {
            return Err(SimError::Zero { option: "--blocks" });
        }
        Engine::new(Worker::default(), config.clone()).map_err(SimError::Engine)?;
        Ok((config, profile.gpus))
    }
}

/// The policy that has a temperature.
const COST: &str = "cost";
