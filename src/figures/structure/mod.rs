//! Prefix structure: the position arrays of a small index, and the radix tree of the same events.

mod collect;
mod draw;
mod tree;

use serde::{Deserialize, Serialize};

pub(super) use collect::collect;
pub(super) use draw::{caption, draw};

use crate::index::Run;

/// A small index, and the tree that would hold the same.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Structure {
    /// Simulated engines.
    pub workers: u32,
    /// Requests that they served.
    pub requests: u64,
    /// Events that led here.
    pub events: u64,
    /// Tokens in a block.
    pub block_size: u32,
    /// Blocks that each worker can cache.
    pub blocks_per_worker: u32,
    /// The index, ascending by where a run begins.
    pub runs: Vec<Run>,
    /// The tree, parents before their children.
    pub nodes: Vec<Node>,
}

/// A node of a radix tree: blocks without a branch that the same workers hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// The position of its first block.
    pub start: u32,
    /// Blocks.
    pub len: u32,
    /// Its parent, by its number in the list.
    pub parent: Option<usize>,
    /// Who holds all of them. Ids and ranks, ascending.
    pub workers: Vec<(u64, u32)>,
}
