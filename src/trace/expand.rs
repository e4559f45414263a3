//! From the ids of a trace's blocks to the local hashes of smaller blocks.

use thiserror::Error;

use super::Row;
use crate::hash::hash_pair;

/// Splits the blocks of a trace into equal blocks of the size to replay at.
///
/// Block `k` (from 0) of id `i` has the local hash `XXH3-64(i as u64 LE || k as u64 LE; seed 1337)`. Equal ids give
/// equal blocks, and different ids give different blocks unless 64-bit hashes collide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expansion {
    trace_block_size: u32,
    block_size: u32,
}

impl Expansion {
    /// The most blocks that a row may have, 2^24. That is far beyond any prompt; it stops a malformed row from
    /// exhausting memory.
    pub const MAX_BLOCKS: usize = 1 << 24;

    /// Creates an expansion from trace blocks of `trace_block_size` tokens to blocks of `block_size` tokens.
    ///
    /// # Errors
    /// [`ExpandError::BlockSizes`] unless both are above 0 and the second divides the first.
    pub fn new(trace_block_size: u32, block_size: u32) -> Result<Self, ExpandError> {
        if trace_block_size == 0 || !trace_block_size.is_multiple_of(block_size) {
            return Err(ExpandError::BlockSizes { trace_block_size, block_size });
        }
        Ok(Self { trace_block_size, block_size })
    }

    /// Appends the local hashes of the row's full blocks, in order. That is `input_length / block_size`, rounded down,
    /// because a partial last block is never cached, and no more than the ids cover.
    ///
    /// # Errors
    /// [`ExpandError::TooFewIds`] if a whole trace block of the prompt has no id (some traces leave out the id of a
    /// partial last block, which is fine), and [`ExpandError::TooManyBlocks`] above [`MAX_BLOCKS`](Self::MAX_BLOCKS).
    /// Nothing is appended then.
    pub fn expand(&self, row: &Row, hashes: &mut Vec<u64>) -> Result<(), ExpandError> {
        let trace_blocks = (row.input_length / self.trace_block_size) as usize;
        if trace_blocks > row.hash_ids.len() {
            return Err(ExpandError::TooFewIds {
                input_length: row.input_length,
                ids: row.hash_ids.len(),
                trace_block_size: self.trace_block_size,
            });
        }
        let ratio = u64::from(self.trace_block_size / self.block_size);
        let blocks = (row.input_length / self.block_size) as usize;
        if blocks > Self::MAX_BLOCKS {
            return Err(ExpandError::TooManyBlocks { input_length: row.input_length, block_size: self.block_size });
        }
        let parts = row.hash_ids.iter().flat_map(|&id| (0..ratio).map(move |part| hash_pair(id, part)));
        hashes.reserve(blocks);
        hashes.extend(parts.take(blocks));
        Ok(())
    }

    /// Tokens in a block of the trace.
    pub fn trace_block_size(&self) -> u32 {
        self.trace_block_size
    }

    /// Tokens in a block of the expansion.
    pub fn block_size(&self) -> u32 {
        self.block_size
    }
}

/// Why ids could not be expanded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ExpandError {
    /// The block size does not divide the trace's.
    #[error(
        "blocks of {block_size} tokens cannot be cut from trace blocks of {trace_block_size}: \
         choose a block size that divides the trace's, both above 0"
    )]
    BlockSizes {
        /// Tokens per block of the trace.
        trace_block_size: u32,
        /// Tokens per block asked for.
        block_size: u32,
    },
    /// A row has fewer ids than its prompt has blocks.
    #[error(
        "{ids} ids are too few for {input_length} tokens in trace blocks of {trace_block_size}: \
         the trace block size is wrong"
    )]
    TooFewIds {
        /// Tokens of the prompt.
        input_length: u32,
        /// How many ids there are.
        ids: usize,
        /// The block size that was assumed, in tokens.
        trace_block_size: u32,
    },
    /// A row has more blocks than [`Expansion::MAX_BLOCKS`].
    #[error(
        "{input_length} tokens in blocks of {block_size} are more than {} blocks: choose a larger block size",
        Expansion::MAX_BLOCKS
    )]
    TooManyBlocks {
        /// Tokens of the prompt.
        input_length: u32,
        /// Tokens per block asked for.
        block_size: u32,
    },
}
