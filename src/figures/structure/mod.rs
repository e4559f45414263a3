//! Prefix structure: the position arrays of a small index, and a radix tree of the same events.

mod collect;
mod draw;
mod tree;

use serde::{Deserialize, Serialize};

pub(super) use collect::collect;
pub(super) use draw::{caption, draw};

use crate::index::Run;

/// A small index, and a tree with the same content.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Structure {
    /// Number of simulated engines.
    pub workers: u32,
    /// Requests that they served.
    pub requests: u64,
    /// Events that they published.
    pub events: u64,
    /// Tokens in a block.
    pub block_size: u32,
    /// Blocks that each worker can cache.
    pub blocks_per_worker: u32,
    /// The runs of the index, ascending by start.
    pub runs: Vec<Run>,
    /// The nodes of the tree, parents before their children.
    pub nodes: Vec<Node>,
}

/// A node of a radix tree: a chain of blocks without a branch that the same workers hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Position of its first block.
    pub start: u32,
    /// Number of its blocks.
    pub len: u32,
    /// Place of its parent in the list.
    pub parent: Option<usize>,
    /// Ids and ranks of the workers that hold its blocks, ascending.
    pub workers: Vec<(u64, u32)>,
}
