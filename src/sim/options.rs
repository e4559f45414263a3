//! What to simulate.

use std::str::FromStr;

use super::workload::Source;
use super::{Setting, SimError, Workload, World};
use crate::event::Worker;
use crate::mock::{Config, Copies, Engine, Latency, Profile};
use crate::route::Prediction;
use crate::route::policy::{self, CostBased, Policy, UnknownPolicy, Weights};

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
    /// What the router knows of the workers' caches. Default [`Knowledge::Events`].
    pub knowledge: Knowledge,
    /// What a block to compute, of the prompt or of those that wait, weighs in the policy `cost`, against one in use.
    /// Default as for [`CostBased`](crate::route::CostBased).
    pub prefill_weight: f64,
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
            knowledge: Knowledge::Events,
            prefill_weight: Weights::default().prefill.into(),
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
        let built = policy::by_name(name)?;
        Ok(if built.name() == COST {
            // What waits to be computed, here or of others, is worth the same.
            let prefill = self.prefill_weight as f32;
            let weights = Weights { prefill, queue: prefill, ..Weights::default() };
            Box::new(CostBased::new(weights, self.temperature as f32).expect("the options are checked"))
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
            let why = format!(
                "is {}, more than the {} workers: some would be served by nobody",
                self.workload.models, self.workers
            );
            return fail("--models", why);
        }
        if !(0.0..=1e9).contains(&self.temperature) {
            return fail("--temperature", format!("is {}; it must be between 0 and 1000000000", self.temperature));
        }
        if self.temperature > 0.0 && !self.policies.contains(&COST) {
            return fail("--temperature", "is set, but no policy that has one is compared: add cost".to_owned());
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

    /// What each worker is like, and how many accelerators it has.
    pub(super) fn engine(&self) -> Result<(Config, u32), SimError> {
        if self.block_size == 0 {
            return Err(SimError::Zero { option: "--block-size" });
        }
        let profile: Profile = self.profile.parse()?;
        let profile = Profile { block_size: self.block_size, ..profile };
        let config = profile.config()?;
        let blocks = self.blocks.unwrap_or(config.blocks);
        // A listener then knows exactly what is cached.
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
    /// Whether the same is asked of both fleets at the same times.
    pub(super) fn asks_as(&self, other: &Self) -> bool {
        let rated = matches!(self.workload.source, Source::Trace { .. }) || self.workload.rate.is_some();
        let (ours, theirs) = (&self.workload, &other.workload);
        (ours, self.block_size, self.seed) == (theirs, other.block_size, other.seed)
            && (self.workers == other.workers || rated && ours.requests.is_some())
    }

    /// What the report says of it.
    pub(super) fn setting(&self, requests: u64) -> Result<Setting, SimError> {
        let Self { workload, workers, block_size, world, seed, .. } = self;
        let mut router = vec![self.knowledge.line().to_owned()];
        if self.policies.contains(&COST) {
            let Self { prefill_weight, temperature, .. } = self;
            router.push(format!("cost weighs blocks to compute {prefill_weight} times, at temperature {temperature}"));
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

/// What the router knows of the workers' caches. Written and parsed by [`name`](Self::name).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knowledge {
    /// What their events say.
    Events,
    /// That, and what its own decisions will bring about until the events arrive.
    Predictions,
    /// Its own decisions only, as for engines that publish nothing.
    Decisions,
}

impl Knowledge {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Events, Self::Predictions, Self::Decisions];

    /// The name it is written by.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Predictions => "predictions",
            Self::Decisions => "decisions",
        }
    }

    const fn line(self) -> &'static str {
        match self {
            Self::Events => "knows what events say",
            Self::Predictions => "knows what events say, and predicts from its decisions what they will say",
            Self::Decisions => "gets no events, and guesses from its decisions",
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
        let why = || format!("knows no {name:?}; choose from {}", Self::ALL.map(Self::name).join(", "));
        let named = Self::ALL.into_iter().find(|knowledge| knowledge.name() == name);
        named.ok_or_else(|| SimError::Option { option: "--knowledge", why: why() })
    }
}

/// The policy that has a temperature.
const COST: &str = "cost";
