//! What the index left out of a worker: the blocks of stores that it rejected. The engine may hold them, and more behind
//! them, so answers about the worker can only be too small while there are any.
//!
//! A block is left out until the engine stores it again, and is not rejected, or removes it. Where copies are counted,
//! the copies that were left out are counted, too, and only removals end them: a removal takes away a copy that is held
//! before one that was left out, so that no block is said to be held that may be elsewhere, and no worker to be whole
//! while a copy is left that nobody knows the place of.

use super::multiset::Multiset;

/// How many left-out blocks of a worker are remembered. Of a worker with more, nothing but that is remembered, until it is
/// cleared or removed.
pub const MAX_LEFT_OUT: u64 = 1 << 16;

/// The sequence hashes of blocks that were left out; at least one, while there is such a value.
#[derive(Debug, Default)]
pub(crate) struct LeftOut {
    blocks: Multiset,
    too_many: bool,
}

impl LeftOut {
    /// Leaves out one more; a copy more, where they are counted.
    pub(crate) fn add(&mut self, sequence: u64, counted: bool) {
        if self.too_many || !counted && self.blocks.count(sequence) > 0 {
            return;
        }
        self.blocks.add(sequence);
        if self.blocks.len() as u64 > MAX_LEFT_OUT {
            *self = Self { blocks: Multiset::default(), too_many: true };
        }
    }

    /// A copy less.
    pub(crate) fn take(&mut self, sequence: u64) {
        self.blocks.take(sequence);
    }

    /// The block is where the index has it, or nowhere.
    pub(crate) fn forget(&mut self, sequence: u64) {
        self.blocks.take_all(sequence);
    }

    /// How many blocks: [`MAX_LEFT_OUT`] and one where there were more.
    pub(crate) fn len(&self) -> u64 {
        if self.too_many { MAX_LEFT_OUT + 1 } else { self.blocks.len() as u64 }
    }

    /// Heap bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.blocks.bytes()
    }
}
