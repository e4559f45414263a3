//! From tokens to the fingerprints of their blocks.

use crate::trace::blocks::{Chain, chain};

/// The blocks of a text that grows.
#[derive(Clone, Debug)]
pub(in crate::trace) struct Chains {
    block_size: usize,
    /// Fingerprints of the full blocks.
    full: Vec<Chain>,
    /// Tokens after the full blocks.
    rest: Vec<u64>,
    scratch: Vec<u8>,
}

impl Chains {
    /// Starts an empty text in blocks of `block_size` tokens, at least 1.
    pub(in crate::trace) fn new(block_size: u32) -> Self {
        Self { block_size: block_size as usize, full: Vec::new(), rest: Vec::new(), scratch: Vec::new() }
    }

    pub(in crate::trace) fn extend(&mut self, tokens: &[u64]) {
        self.rest.extend(tokens);
        let mut parent = self.full.last().copied().unwrap_or(0);
        let blocks = self.rest.chunks_exact(self.block_size);
        let used = self.rest.len() - blocks.remainder().len();
        for block in blocks {
            parent = chain(parent, block.iter().copied(), &mut self.scratch);
            self.full.push(parent);
        }
        self.rest.drain(..used);
    }

    /// Tokens so far.
    pub(in crate::trace) fn len(&self) -> usize {
        self.full.len() * self.block_size + self.rest.len()
    }

    /// Returns the blocks so far, including a partial last one.
    pub(in crate::trace) fn chains(&mut self) -> impl Iterator<Item = Chain> + '_ {
        let parent = self.full.last().copied().unwrap_or(0);
        let short = chain(parent, self.rest.iter().copied(), &mut self.scratch);
        self.full.iter().copied().chain((!self.rest.is_empty()).then_some(short))
    }
}
