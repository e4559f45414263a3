//! The latest names in a run: under which sequence hashes workers stored the blocks that came one by one.
//!
//! Sequence hashes lead to places, and nothing leads back but this. It is a hint: some of it may be out of date.

use crate::event::Block;
use crate::index::shared::holders::Slot;

/// The most entries of a log. A tail of more holdings is not moved, so the move takes hardly longer than an event.
const MOST: usize = 64;

/// The sequence hashes under which the latest blocks of a run were stored.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) entries: Vec<Entry>,
}

/// A worker stored the block at this offset under this sequence hash. In the order of workers, then of offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub(super) slot: Slot,
    pub(super) offset: u32,
    pub(super) sequence: u64,
}

impl Log {
    /// Notes that a worker stored these blocks, the first of them at `offset`. Returns whether there was room for them.
    pub(super) fn note(&mut self, slot: Slot, offset: u32, blocks: &[Block]) -> bool {
        let has_room = self.entries.len() + blocks.len() <= MOST;
        if has_room {
            let entries =
                (offset..).zip(blocks).map(|(offset, block)| Entry { slot, offset, sequence: block.sequence });
            self.entries.extend(entries);
        }
        has_room
    }

    /// Forgets the blocks from this offset on.
    pub(super) fn truncate(&mut self, len: u32) {
        self.entries.retain(|entry| entry.offset < len);
    }

    /// How many bytes it has on the heap.
    pub(super) fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
    }
}
