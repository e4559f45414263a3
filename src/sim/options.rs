//! Options of a simulation.

use std::str::FromStr;

use super::workload::Source;
use super::{Setting, SimError, Workload, World};
use crate::event::Worker;
use crate::mock::{Config, Copies, Engine, Latency, Profile};
use crate::route::Prediction;
use crate::route::policy::{self, CostBased, Policy, UnknownPolicy, Weights};

/// Options of a simulation.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The requests to the fleet.
    pub workload: Workload,
    /// Workers at the start, with the ids 0, 1, ...; at most [`Options::MAX_WORKERS`]. Default 8.
    pub workers: u32,
    /// Model and accelerator of each worker. Default `llama-3.1-8b@h100-80g`.
    pub profile: String,
    /// Tokens in a block. Default 64.
    pub block_size: u32,
    /// Blocks that a worker can cache. Default `None`: as many as fit into the memory of the profile.
    pub blocks: Option<u32>,
    /// How long a step takes. Default `None`: according to the profile's [`Roofline`](crate::mock::Roofline).
    pub latency: Option<Latency>,
    /// Failures and delays.
    pub world: World,
    /// Policies to compare, by name. Default all.
    pub policies: Vec<&'static str>,
    /// What the router knows about the workers' caches. Default [`Knowledge::Events`].
    pub knowledge: Knowledge,
    /// Weight in the policy `cost` of a block to compute, of the prompt or in the queue, relative to a block in use.
    /// Default as in [`CostBased`](crate::route::CostBased).
    pub prefill_weight: f64,
    /// The temperature of the policy `cost`, in blocks. Default 0.
    pub temperature: f64,
    /// Seed of everything random: equal seeds give equal reports. Default 0.
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
            knowledge: Knowledge::Events,
            prefill_weight: Weights::default().prefill.into(),
            temperature: 0.0,
            seed: 0,
        }
    }
}

impl Options {
    /// The most workers that can be simulated.
    pub const MAX_WORKERS: u32 = 1 << 16;

    /// Returns the name of a policy as [`Options::policies`] takes it.
    ///
    /// # Errors
    /// [`SimError::UnknownPolicy`] if no policy has this name. Its message lists the known ones.
    pub fn policy(name: &str) -> Result<&'static str, SimError> {
        let known = policy::NAMES.into_iter().find(|known| *known == name);
        known.ok_or_else(|| SimError::UnknownPolicy(UnknownPolicy { name: name.to_owned() }))
    }

    /// Builds a policy with its settings.
    pub(super) fn build_policy(&self, name: &str) -> Result<Box<dyn Policy>, SimError> {
        let built = policy::by_name(name)?;
        Ok(if built.name() == COST {
            // A block to compute weighs the same, whether it is of this prompt or of those in the queue.
            let prefill = self.prefill_weight as f32;
            let weights = Weights { prefill, queue: prefill, ..Weights::default() };
            Box::new(CostBased::new(weights, self.temperature as f32).expect("the options are checked"))
        } else {
            built
        })
    }

    /// Checks that the options are in range and consistent with each other. Errors in a trace are found only when it is
    /// read.
    ///
    /// # Errors
    /// [`SimError`] names the first option that is wrong.
    pub fn check(&self) -> Result<(), SimError> {
        self.workload.check()?;
        self.world.check(self.workers)?;
        if self.workers == 0 {
            return Err(SimError::Zero { option: "--workers" });
        }
        let fail = |option, why| Err(SimError::Option { option, why });
        if self.policies.is_empty() {
            return fail("--policy", "is empty; name at least one policy".to_owned());
        }
        if let Some(at) = (1..self.policies.len()).find(|&at| self.policies[..at].contains(&self.policies[at])) {
            return fail("--policy", format!("names {} twice", self.policies[at]));
        }
        if self.workers > Self::MAX_WORKERS {
            let why = format!("is {}; it must be at most {}", self.workers, Self::MAX_WORKERS);
            return fail("--workers", why);
        }
        if self.workload.models > self.workers {
            let why = format!(
                "is {}, more than the {} workers: some models would have no worker",
                self.workload.models, self.workers
            );
            return fail("--models", why);
        }
        if !(0.0..=1e9).contains(&self.temperature) {
            return fail("--temperature", format!("is {}; it must be between 0 and 1000000000", self.temperature));
        }
        if self.temperature > 0.0 && !self.policies.contains(&COST) {
            return fail(
                "--temperature",
                "is set, but only the policy cost has a temperature: add it to --policy".to_owned(),
            );
        }
        if !(0.0..=1e9).contains(&self.prefill_weight) {
            return fail(
                "--prefill-weight",
                format!("is {}; it must be between 0 and 1000000000", self.prefill_weight),
            );
        }
        for name in &self.policies {
            self.build_policy(name)?;
        }
        self.engine().map(|_| ())
    }

    /// Returns the settings of each engine, and how many accelerators it has.
    pub(super) fn engine(&self) -> Result<(Config, u32), SimError> {
        if self.block_size == 0 {
            return Err(SimError::Zero { option: "--block-size" });
        }
        let profile: Profile = self.profile.parse()?;
        let profile = Profile { block_size: self.block_size, ..profile };
        let config = profile.config()?;
        let blocks = self.blocks.unwrap_or(config.blocks);
        // Merged copies, so that the index knows exactly what is cached.
        let latency = self.latency.clone().unwrap_or(config.latency);
        let config = Config { blocks, latency, copies: Copies::Merged, ..config };
        if blocks == 0 {
            return Err(SimError::Zero { option: "--blocks" });
        }
        Engine::new(Worker::default(), config.clone())?;
        Ok((config, profile.gpus))
    }
}

impl Options {
    /// Returns whether the requests and their times are the same for both options.
    pub(super) fn asks_as(&self, other: &Self) -> bool {
        let rated = matches!(self.workload.source, Source::Trace { .. }) || self.workload.rate.is_some();
        let (ours, theirs) = (&self.workload, &other.workload);
        (ours, self.block_size, self.seed) == (theirs, other.block_size, other.seed)
            && (self.workers == other.workers || rated && ours.requests.is_some())
    }

    /// Describes the options for the report.
    pub(super) fn setting(&self, requests: u64) -> Result<Setting, SimError> {
        let Self { workload, workers, block_size, world, seed, .. } = self;
        let mut router = vec![self.knowledge.line().to_owned()];
        if self.policies.contains(&COST) {
            let Self { prefill_weight, temperature, .. } = self;
            let choice = match *temperature {
                0.0 => "always the cheapest worker".to_owned(),
                temperature => format!("temperature {temperature}"),
            };
            router.push(format!("policy cost: prefill weight {prefill_weight}, {choice}"));
        }
        Ok(Setting {
            workload: workload.source.to_string(),
            arrivals: workload.arrivals(*workers),
            requests,
            workers: *workers,
            profile: self.profile.clone(),
            block_size: *block_size,
            blocks_per_worker: self.engine()?.0.blocks,
            models: workload.models,
            adapters: workload.adapters,
            world: world.lines(),
            router,
            seed: *seed,
        })
    }
}

/// What the router knows about the workers' caches. Written and parsed by [`name`](Self::name).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knowledge {
    /// What their events report.
    Events,
    /// What their events report, and what its own decisions will add, until the events arrive.
    Predictions,
    /// What its own decisions have added: for engines that publish nothing.
    Decisions,
}

impl Knowledge {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Events, Self::Predictions, Self::Decisions];

    /// The name that it is written as.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Predictions => "predictions",
            Self::Decisions => "decisions",
        }
    }

    const fn line(self) -> &'static str {
        match self {
            Self::Events => "caches are known from events",
            Self::Predictions => "caches are known from events, and predicted from decisions until the events arrive",
            Self::Decisions => "caches are predicted from decisions alone, without events",
        }
    }

    pub(super) fn prediction(self, blocks: u32) -> Option<Prediction> {
        match self {
            Self::Events => None,
            Self::Predictions => Some(Prediction::until_events()),
            Self::Decisions => Some(Prediction::instead_of_events(blocks)),
        }
    }
}

impl FromStr for Knowledge {
    type Err = SimError;

    fn from_str(name: &str) -> Result<Self, SimError> {
        let why = || format!("cannot be {name:?}; choose from {}", Self::ALL.map(Self::name).join(", "));
        let named = Self::ALL.into_iter().find(|knowledge| knowledge.name() == name);
        named.ok_or_else(|| SimError::Option { option: "--knowledge", why: why() })
    }
}

/// The policy that has a temperature.
const COST: &str = "cost";
