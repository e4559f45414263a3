//! What a mock engine holds, and what it has published.

use serde::{Deserialize, Serialize};

/// What an engine holds, by rank: what an index should answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineState {
    /// Tokens in a block.
    pub block_size: u32,
    /// What each data-parallel rank holds.
    pub ranks: Vec<RankState>,
}

/// What one rank holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RankState {
    /// Batches published so far.
    pub batches: u64,
    /// Its blocks, in no particular order.
    pub blocks: Vec<BlockState>,
}

/// A block that a rank holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockState {
    /// The sequence hash.
    pub sequence: u64,
    /// The sequence hash of the block before it.
    pub parent: Option<u64>,
    /// The local hash.
    pub local: u64,
}

/// Totals of what was published so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// Batches, with those that were dropped.
    pub batches: u64,
    /// Batches that were dropped.
    pub dropped: u64,
    /// Blocks stored and removed.
    pub blocks: u64,
}
