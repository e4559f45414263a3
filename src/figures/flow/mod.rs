//! Event flow: from engines to readers, with the measurements of an actual run.

mod collect;
mod draw;

use serde::{Deserialize, Serialize};

pub(super) use collect::collect;
pub(super) use draw::{caption, draw};

/// The measurements of a run of a few seconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Flow {
    /// Seconds from the first event until the last one was visible.
    pub seconds: f64,
    /// Seconds of virtual time in which the engines published the events.
    pub virtual_seconds: f64,
    /// Number of simulated engines.
    pub engines: u32,
    /// Blocks that each engine can cache.
    pub blocks_per_engine: u64,
    /// Tokens in a block.
    pub block_size: u32,
    /// Threads that sent events.
    pub publishers: u32,
    /// Events that they sent.
    pub events: u64,
    /// Blocks that these named.
    pub blocks: u64,
    /// Events that a mailbox has room for.
    pub mailbox: u64,
    /// The measurements of each shard.
    pub shards: Vec<ShardFigures>,
    /// Threads that looked up prompts.
    pub readers: u32,
    /// Number of lookups.
    pub lookups: u64,
    /// Latency of lookups in nanoseconds.
    pub lookup_ns: Quantiles,
    /// Cores that the threads could run on.
    pub cores: u32,
}

/// The measurements of a shard.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct ShardFigures {
    /// Events applied.
    pub events: u64,
    /// Blocks that these named.
    pub blocks: u64,
    /// Events waiting in the mailbox, sampled regularly.
    pub waiting: Quantiles,
    /// Seconds that the writer spent applying events.
    pub apply_seconds: f64,
    /// Seconds that the writer spent publishing.
    pub publish_seconds: f64,
    /// Number of publications.
    pub generation: u64,
    /// Time from acceptance to visibility, in nanoseconds.
    pub lag_ns: Quantiles,
    /// Runs at the end.
    pub runs: u64,
    /// Blocks in the index at the end, each once, with those before them that nobody holds.
    pub indexed_blocks: u64,
    /// Blocks held at the end, counted for each worker.
    pub held_blocks: u64,
    /// Heap memory at the end.
    pub bytes: u64,
}

/// Quantiles of a distribution.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Quantiles {
    /// Median.
    pub p50: u64,
    /// 99th percentile.
    pub p99: u64,
    /// Maximum.
    pub max: u64,
}
