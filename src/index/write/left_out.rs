//! The blocks that the index left out of a worker, because it rejected the events that stored them. The engine may hold
//! them, and other blocks behind them. While there are any, an answer about the worker can be too small, but not too
//! large.
//!
//! A block stays left out until the engine removes it, or stores it again in an event that the index accepts. Where
//! copies are counted, the copies that were left out are counted as well, and only removals end them. A removal takes
//! away a copy that the index holds before it takes away one that was left out. So the index never says that a worker
//! holds a block whose last copy may be elsewhere, and never calls a worker complete while the place of a copy is
//! unknown.

use super::multiset::Multiset;

/// How many left-out blocks of a worker are remembered. If a worker has more, the index remembers only that it has more,
/// until the worker is cleared or removed.
pub const MAX_LEFT_OUT: u64 = 1 << 16;

/// The sequence hashes of the blocks that were left out of a worker: at least one, as long as the worker has this value.
#[derive(Debug, Default)]
pub(crate) struct LeftOut {
    blocks: Multiset,
    too_many: bool,
}

impl LeftOut {
    /// Leaves out a block. Where copies are `counted`, this is one more copy of it.
    pub(crate) fn add(&mut self, sequence: u64, counted: bool) {
        if self.too_many || !counted && self.blocks.count(sequence) > 0 {
            return;
        }
        self.blocks.add(sequence);
        if self.blocks.len() as u64 > MAX_LEFT_OUT {
            *self = Self { blocks: Multiset::default(), too_many: true };
        }
    }

    /// The engine removed the block, or one copy of it.
    pub(crate) fn take(&mut self, sequence: u64) {
        self.blocks.take(sequence);
    }

    /// The index knows again whether the engine holds the block, and where.
    pub(crate) fn forget(&mut self, sequence: u64) {
        self.blocks.take_all(sequence);
    }

    /// How many blocks were left out. If they were more than [`MAX_LEFT_OUT`], it is that and one.
    pub(crate) fn len(&self) -> u64 {
        if self.too_many { MAX_LEFT_OUT + 1 } else { self.blocks.len() as u64 }
    }

    /// How many bytes it has on the heap.
    pub(crate) fn bytes(&self) -> usize {
        self.blocks.bytes()
    }
}
