//! Event flow: from engines to readers, with the figures of an actual run.

mod collect;
mod draw;

use serde::{Deserialize, Serialize};

pub(super) use collect::collect;
pub(super) use draw::{caption, draw};

/// What a run of a few seconds measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Flow {
    /// How long it took, from the first event to the last one's visibility.
    pub seconds: f64,
    /// What the engines said in so many seconds of their virtual time.
    pub virtual_seconds: f64,
    /// Simulated engines.
    pub engines: u32,
    /// Blocks of each.
    pub blocks_per_engine: u64,
    /// Tokens in a block.
    pub block_size: u32,
    /// Threads that handed events over.
    pub publishers: u32,
    /// Events that they handed over.
    pub events: u64,
    /// Blocks that these named.
    pub blocks: u64,
    /// How many events a mailbox has room for.
    pub mailbox: u64,
    /// By shard.
    pub shards: Vec<ShardFigures>,
    /// Threads that looked up.
    pub readers: u32,
    /// Lookups.
    pub lookups: u64,
    /// From call to answer, in nanoseconds.
    pub lookup_ns: Quantiles,
    /// The threads could run on so many cores.
    pub cores: u32,
}

/// What one shard did.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct ShardFigures {
    /// Events applied.
    pub events: u64,
    /// Blocks that these named.
    pub blocks: u64,
    /// Events waiting in the mailbox, whenever one looked.
    pub waiting: Quantiles,
    /// Seconds that the writer spent applying events.
    pub apply_seconds: f64,
    /// Seconds that the writer spent publishing.
    pub publish_seconds: f64,
    /// Publications.
    pub generation: u64,
    /// From acceptance to visibility, in nanoseconds.
    pub lag_ns: Quantiles,
    /// Runs at the end.
    pub runs: u64,
    /// Distinct blocks at the end.
    pub distinct_blocks: u64,
    /// Blocks held at the end, each worker's counted.
    pub held_blocks: u64,
    /// Heap memory at the end.
    pub bytes: u64,
}

/// How values are spread.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Quantiles {
    /// Half are no larger.
    pub p50: u64,
    /// 99% are no larger.
    pub p99: u64,
    /// The largest.
    pub max: u64,
}
