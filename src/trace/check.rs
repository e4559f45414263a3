//! Checks that the rows of a trace are consistent with each other and with the size of its blocks.

use super::Row;
use super::error::{Mismatch, Reason};
use super::fitting::FittingSizes;

/// Checks the rows of a trace in order.
#[derive(Debug)]
pub(super) struct Check {
    block_size: u32,
    previous: u64,
    fitting: FittingSizes,
}

impl Check {
    /// Creates a check for ids that stand for `block_size` tokens each, which must not be 0.
    pub(super) fn new(block_size: u32) -> Self {
        Self { block_size, previous: 0, fitting: FittingSizes::default() }
    }

    pub(super) fn block_size(&self) -> u32 {
        self.block_size
    }

    /// Checks the next row.
    ///
    /// # Errors
    /// [`Reason::Unsorted`] and [`Reason::WrongBlockSize`]. The check must not be used any more then.
    pub(super) fn row(&mut self, row: &Row) -> Result<(), Reason> {
        let Row { timestamp, input_length, .. } = *row;
        if timestamp < self.previous {
            return Err(Reason::Unsorted { timestamp, previous: self.previous });
        }
        self.previous = timestamp;
        fit(&mut self.fitting, input_length, row.hash_ids.len(), self.block_size)
    }
}

/// Narrows the sizes that fit by the next row, and checks that `block_size` is still among them.
///
/// # Errors
/// [`Reason::WrongBlockSize`].
pub(super) fn fit(fitting: &mut FittingSizes, input_length: u32, ids: usize, block_size: u32) -> Result<(), Reason> {
    fitting.narrow(input_length, ids);
    if fitting.contains(block_size) {
        return Ok(());
    }
    let (full, all) = ((input_length / block_size) as usize, input_length.div_ceil(block_size) as usize);
    let mismatch = match ids {
        _ if ids < full => Mismatch::TooFew,
        _ if ids > all => Mismatch::TooMany,
        _ if ids < all => Mismatch::WithoutTail,
        _ => Mismatch::WithTail,
    };
    Err(Reason::WrongBlockSize { input_length, ids, block_size, mismatch, fitting: *fitting })
}
