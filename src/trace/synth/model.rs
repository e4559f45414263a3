//! What is learnt from a trace.

use fastrand::Rng;

use super::tree::{Exit, Grower, Tree};
use crate::trace::{CheckedRows, Row, ToolError};

/// Observed values, each drawn with the same probability.
#[derive(Clone, Debug)]
pub(super) struct Sample<T>(Vec<T>);

impl<T: Copy> Sample<T> {
    /// Draws one of them, or returns `none` if there is none.
    pub(super) fn draw(&self, random: &mut Rng, none: T) -> T {
        if self.0.is_empty() { none } else { self.0[random.usize(..self.0.len())] }
    }
}

/// The empirical distributions of a trace.
///
/// Memory grows with the rows and the distinct ids.
#[derive(Clone, Debug)]
pub struct Model {
    pub(super) block_size: u32,
    pub(super) tree: Tree,
    /// The requests, in order.
    pub(super) requests: Vec<Request>,
    /// The leaves, in the order of the length of the shared prefixes before them.
    pub(super) leaves: Vec<Leaf>,
    pub(super) output_lengths: Sample<u32>,
    /// Numbers of requests that arrived at the same time.
    pub(super) bursts: Sample<u32>,
    /// Milliseconds between such times.
    pub(super) gaps: Sample<u64>,
}

/// The path of a request from the root.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    /// The last node before it left the tree.
    pub(super) node: u32,
    pub(super) then: Then,
}

/// What follows the shared prefix of a request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Then {
    /// Nothing; the last block has this many tokens.
    End { tail: u32 },
    /// Blocks of its own: the leaf with this number.
    Leaf(u32),
}

/// Blocks that no other request has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leaf {
    pub(super) blocks: u32,
    /// Tokens in the last block.
    pub(super) tail: u32,
}

/// The shape of a [`Model`]'s tree.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// Requests that the model was learnt from.
    pub requests: u64,
    /// Distinct ids that more than one request has.
    pub shared_blocks: u64,
    /// Nodes that they form, chains without a branch being one node.
    pub nodes: u64,
    /// Nodes on the longest path from the root.
    pub depth: u32,
    /// Requests with blocks of their own.
    pub leaves: u64,
    /// How many blocks of their own these have, on average.
    pub mean_leaf: f64,
}

impl Model {
    /// Learns from all `rows`. Calls `progress` after each row with the number of rows so far.
    ///
    /// # Errors
    /// [`ToolError::Trace`] if a row cannot be read, does not fit, or has an id that followed a different one before.
    pub fn learn(mut rows: CheckedRows, mut progress: impl FnMut(u64)) -> Result<Self, ToolError> {
        let block_size = rows.block_size();
        let mut grower = Grower::default();
        let (mut tails, mut output_lengths, mut bursts, mut gaps) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut row = Row::default();
        let mut previous = None;
        while let Some(read) = rows.read(&mut row) {
            read?;
            tails.push(tail(&row, block_size));
            grower.row(&row).map_err(|reason| rows.error(reason))?;
            output_lengths.push(row.output_length);
            match (previous, bursts.last_mut()) {
                (Some(previous), Some(burst)) if previous == row.timestamp => *burst += 1,
                (previous, _) => {
                    gaps.extend(previous.map(|previous| row.timestamp - previous));
                    bursts.push(1);
                }
            }
            previous = Some(row.timestamp);
            progress(tails.len() as u64);
        }
        let (tree, exits) = grower.finish();
        let (requests, leaves) = leaves(&tree, &exits, &tails);
        let (output_lengths, bursts, gaps) = (Sample(output_lengths), Sample(bursts), Sample(gaps));
        Ok(Self { block_size, tree, requests, leaves, output_lengths, bursts, gaps })
    }

    /// Returns the shape of the tree.
    pub fn shape(&self) -> Shape {
        let blocks: u64 = self.leaves.iter().map(|leaf| u64::from(leaf.blocks)).sum();
        Shape {
            requests: self.requests.len() as u64,
            shared_blocks: self.tree.nodes.iter().map(|node| u64::from(node.length)).sum(),
            nodes: self.tree.nodes.len() as u64 - 1,
            depth: self.tree.depth(),
            leaves: self.leaves.len() as u64,
            mean_leaf: if blocks == 0 { 0.0 } else { blocks as f64 / self.leaves.len() as f64 },
        }
    }
}

/// Numbers the leaves in the order of the length of the shared prefixes before them.
fn leaves(tree: &Tree, exits: &[Exit], tails: &[u32]) -> (Vec<Request>, Vec<Leaf>) {
    let mut order: Vec<usize> = (0..exits.len()).filter(|&request| exits[request].leaf > 0).collect();
    order.sort_by_key(|&request| tree.nodes[exits[request].node as usize].end());
    let leaves = order.iter().map(|&request| Leaf { blocks: exits[request].leaf, tail: tails[request] }).collect();
    let ended = exits.iter().zip(tails).map(|(exit, &tail)| Request { node: exit.node, then: Then::End { tail } });
    let mut requests: Vec<Request> = ended.collect();
    for (leaf, request) in (0..).zip(order) {
        requests[request].then = Then::Leaf(leaf);
    }
    (requests, leaves)
}

/// Returns the tokens in the last block of a row, including any that follow it without an id.
fn tail(row: &Row, block_size: u32) -> u32 {
    row.input_length - row.hash_ids.len().saturating_sub(1) as u32 * block_size
}
