//! Position arrays: the prefix hashes of a run's blocks, one slot per position.
//!
//! The writer appends to an array while readers look at it. It never writes a slot again that a snapshot may read; a run
//! that is trimmed gets a new array.

use std::iter::repeat_with;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::prefetch::prefetch;

/// The prefix hashes of a run by offset, shared between the writer and the snapshots.
///
/// All accesses are Relaxed. A reader looks only at offsets below the cutoffs of its snapshot. The writer wrote these
/// before it published the snapshot, and the publication (`publish.rs`) orders the two.
#[derive(Clone, Debug)]
pub(crate) struct PositionArray {
    /// Offset 0 is here, so a run of one block needs no array.
    pub(crate) first: u64,
    rest: Arc<[AtomicU64]>,
}

impl PositionArray {
    /// An array of one block.
    pub(crate) fn of(first: u64) -> Self {
        Self { first, rest: Arc::default() }
    }

    #[inline]
    pub(crate) fn get(&self, offset: u32) -> u64 {
        if offset == 0 { self.first } else { self.rest[offset as usize - 1].load(Relaxed) }
    }

    /// Fetches what [`PositionArray::get`] of an offset will need.
    #[inline]
    pub(crate) fn prefetch(&self, offset: u32) {
        if let Some(slot) = self.rest.get((offset as usize).wrapping_sub(1)) {
            prefetch(slot);
        }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.rest.len() + 1
    }

    /// Writes prefix hashes from offset `len` on, which no snapshot reads yet. There must be capacity for them.
    #[inline]
    pub(crate) fn append(&self, len: u32, prefixes: &[u64]) {
        for (slot, &prefix) in self.rest[len as usize - 1..].iter().zip(prefixes) {
            slot.store(prefix, Relaxed);
        }
    }

    /// Copies the first `len` into a new array with this capacity.
    pub(crate) fn resized(&self, len: u32, capacity: usize) -> Self {
        let copied = self.rest[..len as usize - 1].iter().map(|slot| AtomicU64::new(slot.load(Relaxed)));
        let room = repeat_with(AtomicU64::default).take(capacity - len as usize);
        // The length is known, so this allocates once.
        Self { first: self.first, rest: copied.chain(room).collect() }
    }

    /// How many bytes it has on the heap.
    pub(crate) fn bytes(&self) -> usize {
        if self.rest.is_empty() { 0 } else { 16 + size_of_val(&self.rest[..]) }
    }
}
