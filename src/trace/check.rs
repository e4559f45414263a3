//! Checks that the rows of a trace are consistent with each other.

use super::Row;
use super::error::Reason;

/// Checks the rows of a trace in order.
#[derive(Debug)]
pub(crate) struct Check {
    block_size: u32,
    previous: u64,
    /// Whether partial last blocks have an id. Either is fine, if it is the same for all rows.
    tails: Option<bool>,
}

impl Check {
    /// Creates a check for ids that stand for `block_size` tokens each.
    pub(crate) fn new(block_size: u32) -> Self {
        Self { block_size, previous: 0, tails: None }
    }

    /// Checks the next row.
    ///
    /// # Errors
    /// [`Reason::Unsorted`], [`Reason::TooFewIds`] and [`Reason::UnevenTails`].
    pub(crate) fn row(&mut self, row: &Row) -> Result<(), Reason> {
        let Row { timestamp, input_length, .. } = *row;
        let (block_size, ids) = (self.block_size, row.hash_ids.len());
        if timestamp < self.previous {
            return Err(Reason::Unsorted { timestamp, previous: self.previous });
        }
        self.previous = timestamp;
        let full = (input_length / block_size) as usize;
        let tail = (!input_length.is_multiple_of(block_size)).then_some(ids > full);
        if ids < full || (tail == Some(false) && self.tails == Some(true)) {
            return Err(Reason::TooFewIds { input_length, ids, block_size });
        }
        if tail == Some(true) && self.tails == Some(false) {
            return Err(Reason::UnevenTails { input_length, ids, block_size });
        }
        self.tails = self.tails.or(tail);
        Ok(())
    }

    /// Returns whether the last id of a row stands for no token.
    pub(crate) fn is_spare(&self, row: &Row) -> bool {
        let before = row.hash_ids.len().saturating_sub(1) as u64 * u64::from(self.block_size);
        !row.hash_ids.is_empty() && before >= row.input_length.into()
    }
}
