//! A multiset of sequence hashes: each is in it a number of times. It gives memory back as it empties.
//!
//! The methods that change it are not inlined, because most workers have no multiset, and the loops that apply events
//! are faster without their code.

use hashbrown::HashMap;

use crate::index::shared::mix::BuildMix;

/// A multiset of sequence hashes.
#[derive(Debug, Default)]
pub(crate) struct Multiset {
    /// How often each is in it, at least once.
    counts: HashMap<u64, u64, BuildMix>,
    total: u64,
}

impl Multiset {
    /// How many different ones are in it.
    pub(crate) fn len(&self) -> usize {
        self.counts.len()
    }

    /// How many are in it, counted as often as they are.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// How often one is in it.
    pub(crate) fn count(&self, sequence: u64) -> u64 {
        self.counts.get(&sequence).copied().unwrap_or(0)
    }

    #[inline(never)]
    pub(crate) fn add(&mut self, sequence: u64) {
        *self.counts.entry(sequence).or_default() += 1;
        self.total += 1;
    }

    /// Takes it out once. Returns whether it was in.
    #[inline(never)]
    pub(crate) fn take(&mut self, sequence: u64) -> bool {
        let Some(count) = self.counts.get_mut(&sequence) else { return false };
        *count -= 1;
        self.total -= 1;
        if *count == 0 {
            self.counts.remove(&sequence);
            self.shrink();
        }
        true
    }

    /// Takes it out as often as it is in.
    #[inline(never)]
    pub(crate) fn take_all(&mut self, sequence: u64) {
        if let Some(count) = self.counts.remove(&sequence) {
            self.total -= count;
            self.shrink();
        }
    }

    fn shrink(&mut self) {
        if self.counts.capacity() > 8 * (self.counts.len() + 1) {
            self.counts.shrink_to(2 * self.counts.len());
        }
    }

    /// How many bytes it has on the heap.
    pub(crate) fn bytes(&self) -> usize {
        self.counts.allocation_size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn same_as_a_map(operations in prop::collection::vec((0u8..5, 0u64..40), 0..500)) {
            let mut set = Multiset::default();
            let mut model = BTreeMap::new();
            for (operation, sequence) in operations {
                match operation {
                    0..3 => {
                        set.add(sequence);
                        *model.entry(sequence).or_insert(0) += 1;
                    }
                    3 => {
                        let count = model.get_mut(&sequence);
                        prop_assert_eq!(set.take(sequence), count.is_some());
                        if let Some(count) = count {
                            *count -= 1;
                        }
                    }
                    _ => {
                        set.take_all(sequence);
                        model.remove(&sequence);
                    }
                }
                model.retain(|_, count| *count > 0);
                prop_assert_eq!((set.len(), set.total()), (model.len(), model.values().sum()));
                prop_assert!((0..40).all(|s| set.count(s) == model.get(&s).copied().unwrap_or(0)));
            }
        }
    }

    #[test]
    fn memory_follows_the_contents() {
        let mut set = Multiset::default();
        (0..100_000).for_each(|sequence| set.add(sequence));
        for sequence in 0..100_000 {
            assert!(set.take(sequence));
            assert!(set.bytes() <= (set.len() + 8) * 17 * 16, "{} bytes for {}", set.bytes(), set.len());
        }
        assert!(set.bytes() < 256);
    }
}
