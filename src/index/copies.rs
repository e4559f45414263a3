//! The copies of a worker's blocks, where they are counted: those beyond the first. Most blocks have one copy, and are
//! not in here.

use hashbrown::HashMap;

use super::hasher::BuildMix;

/// Copies beyond the first, by sequence hash.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    /// Without zeros.
    more: HashMap<u64, u64, BuildMix>,
    total: u64,
}

impl Copies {
    /// Of a block.
    pub(crate) fn of(&self, sequence: u64) -> u64 {
        self.more.get(&sequence).copied().unwrap_or(0)
    }

    /// Of all blocks together.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    pub(crate) fn add(&mut self, sequence: u64) {
        *self.more.entry(sequence).or_default() += 1;
        self.total += 1;
    }

    /// Takes one away. Returns whether there was one.
    #[inline]
    pub(crate) fn take(&mut self, sequence: u64) -> bool {
        if self.more.is_empty() {
            return false;
        }
        let Some(more) = self.more.get_mut(&sequence) else { return false };
        *more -= 1;
        self.total -= 1;
        if *more == 0 {
            self.more.remove(&sequence);
            self.shrink();
        }
        true
    }

    /// Takes all of a block away.
    #[inline]
    pub(crate) fn take_all(&mut self, sequence: u64) {
        if !self.more.is_empty()
            && let Some(more) = self.more.remove(&sequence)
        {
            self.total -= more;
            self.shrink();
        }
    }

    /// Gives memory back once most of it is empty.
    fn shrink(&mut self) {
        if self.more.capacity() > 8 * (self.more.len() + 1) {
            self.more.shrink_to(2 * self.more.len());
        }
    }

    /// Heap bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.more.allocation_size()
    }
}
