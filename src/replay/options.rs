//! What to replay, and on what.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use super::ReplayError;
use crate::trace::Expansion;

/// What to replay, and on what.
#[derive(Clone, Debug, Serialize)]
pub struct Options {
    /// The trace, as [`trace::open`](crate::trace::open) takes it; `None` plays the built-in
    /// [`Workload`](super::Workload). Default `None`.
    #[serde(serialize_with = "lossy")]
    pub trace: Option<PathBuf>,
    /// Tokens that one hash id of the trace stands for; a multiple of `block_size`. The built-in workload has no use for
    /// it. Default 512.
    pub trace_block_size: u32,
    /// Requests to play, the first ones of the trace. Default `None`: the whole trace, or 10,000 requests of the built-in
    /// workload.
    #[serde(skip)]
    pub requests: Option<u64>,
    /// Workers in the fleet, at most [`Options::MAX_WORKERS`]; their ids are 0, 1, ... and their `dp_rank` is 0. Default
    /// 32.
    pub workers: u32,
    /// Blocks that each worker's cache has room for. Default 4,096.
    pub blocks_per_worker: usize,
    /// Tokens in a block. Default 128.
    pub block_size: u32,
    /// Which worker serves a request. Default [`Assign::Random`].
    pub assign: Assign,
    /// Shards of the index, each with a writer thread. Default 1.
    pub shards: usize,
    /// Cores to pin the writer threads to: shard i to `pin[i % len]`. Default empty: not pinned.
    pub pin: Vec<usize>,
    /// Seed of the workload, the random policy and the index; equal seeds give equal requests and events. Default 0.
    pub seed: u64,
    /// Whether to compare every answer with the reference model. Default `false`.
    #[serde(skip)]
    pub verify: bool,
    /// File for events, queries and answers as JSON lines, gzipped if the name ends in `.gz`. Default `None`.
    #[serde(skip)]
    pub record: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            trace: None,
            trace_block_size: 512,
            requests: None,
            workers: 32,
            blocks_per_worker: 4096,
            block_size: 128,
            assign: Assign::Random,
            shards: 1,
            pin: Vec::new(),
            seed: 0,
            verify: false,
            record: None,
        }
    }
}

impl Options {
    /// The widest fleet that a replay simulates.
    pub const MAX_WORKERS: u32 = 1 << 20;

    /// Checks that the options are in range and fit together.
    pub(super) fn check(&self) -> Result<(), ReplayError> {
        let counts = [
            ("workers", self.workers == 0),
            ("blocks", self.blocks_per_worker == 0),
            ("block-size", self.block_size == 0),
            ("trace-block-size", self.trace_block_size == 0),
            ("shards", self.shards == 0),
            ("requests", self.requests == Some(0)),
        ];
        if let Some(&(option, _)) = counts.iter().find(|(_, zero)| *zero) {
            return Err(ReplayError::Zero { option });
        }
        if self.workers > Self::MAX_WORKERS {
            return Err(ReplayError::TooManyWorkers { workers: self.workers });
        }
        if self.trace.is_some() {
            Expansion::new(self.trace_block_size, self.block_size).map_err(ReplayError::BlockSizes)?;
        }
        Ok(())
    }
}

/// Serialises a path as text, as well as it can be where it is not Unicode.
#[allow(clippy::ref_option)] // the signature that serde asks for
fn lossy<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    path.as_ref().map(|path| path.to_string_lossy()).serialize(serializer)
}

/// The policy that chooses the worker that serves a request. Written and parsed as `random`, `round-robin`, `best`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Assign {
    /// Any worker, all equally likely: shared prefixes end up on every worker, the hard case for the index.
    Random,
    /// Each worker in turn.
    RoundRobin,
    /// The worker with the deepest match; of equals the one that served the fewest requests so far, then the lowest id.
    Best,
}

impl Assign {
    /// All policies.
    pub const ALL: [Self; 3] = [Self::Random, Self::RoundRobin, Self::Best];

    /// Returns the name that it is written and parsed by.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::RoundRobin => "round-robin",
            Self::Best => "best",
        }
    }
}

impl fmt::Display for Assign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Assign {
    type Err = ReplayError;

    fn from_str(name: &str) -> Result<Self, ReplayError> {
        let named = Self::ALL.into_iter().find(|assign| assign.name() == name);
        named.ok_or_else(|| ReplayError::UnknownAssign { name: name.to_owned() })
    }
}
