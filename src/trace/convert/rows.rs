//! From rows to rows: smaller blocks, and ids that stand for prefixes.

use std::collections::HashMap;

use crate::trace::{ExpandError, Expansion, Reason, Row, ToolError};

/// Turns rows in blocks of one size into rows in smaller blocks.
///
/// Block `k` of id `i` has the id `i * ratio + k`, so equal ids give equal blocks, and dense ids stay dense. A partial
/// last block becomes as many blocks as it fills, the last of them partial. Rows must fit blocks of the first size, as
/// [`CheckedRows`](crate::trace::CheckedRows) do.
#[derive(Debug)]
pub struct Resize {
    block_size: u32,
    ratio: u64,
}

impl Resize {
    /// Creates a conversion from blocks of `from` tokens to blocks of `to` tokens.
    ///
    /// # Errors
    /// [`ToolError::Option`] unless both are above 0 and the second divides the first.
    pub fn new(from: u32, to: u32) -> Result<Self, ToolError> {
        Expansion::new(from, to).map_err(|error: ExpandError| ToolError::Option {
            option: "--to-block-size",
            why: format!("does not fit: {error}"),
        })?;
        Ok(Self { block_size: to, ratio: (from / to).into() })
    }

    /// Converts a row.
    ///
    /// # Errors
    /// [`Reason::TooLargeId`] if the ids would not fit into 64 bits. The row has not changed then.
    pub fn row(&self, row: &mut Row) -> Result<(), Reason> {
        let last = u64::MAX / self.ratio;
        if let Some(&id) = row.hash_ids.iter().find(|&&id| id >= last) {
            return Err(Reason::TooLargeId { id });
        }
        let blocks = row.input_length.div_ceil(self.block_size) as usize;
        let ratio = self.ratio;
        let parts = row.hash_ids.iter().flat_map(|&id| id * ratio..(id + 1) * ratio);
        row.hash_ids = parts.take(blocks).collect();
        Ok(())
    }
}

/// Turns ids that stand for a block alone, or for anything else, into ids that stand for a block and its whole prefix.
///
/// Ids are 0, 1, 2, ... in the order of first appearance. Two rows share as many leading ids as they did before. Memory
/// grows with the distinct ids.
#[derive(Debug, Default)]
pub struct Rechain {
    ids: HashMap<(u64, u64), u64>,
}

impl Rechain {
    /// Replaces the ids of a row.
    pub fn row(&mut self, row: &mut Row) {
        self.ids(&mut row.hash_ids, 0);
    }

    /// Replaces ids that mean something within their `scope` only.
    pub(super) fn ids(&mut self, ids: &mut [u64], scope: u64) {
        // No block has this id: that many do not fit into memory.
        let mut parent = u64::MAX - scope;
        for id in ids {
            let next = self.ids.len() as u64;
            parent = *self.ids.entry((parent, *id)).or_insert(next);
            *id = parent;
        }
    }
}
