//! A set of workers that changes at every run of a path: a word per 64 slots, and a list of the words in use, so that a
//! change costs the same wherever a slot is, and emptying costs what was in it.

use crate::index::shared::holders::Chunk;

/// A set of slots.
#[derive(Debug, Default)]
pub(crate) struct SlotSet {
    /// By chunk index. Words that are not in use are 0.
    words: Vec<u64>,
    /// The indices of the words in use, once each; a word may have become 0 since.
    in_use: Vec<u32>,
}

impl SlotSet {
    /// Adds the members of a chunk, none of which is in the set.
    #[inline]
    pub(crate) fn add(&mut self, chunk: Chunk) {
        let index = chunk.index as usize;
        if index >= self.words.len() {
            self.words.resize(index + 1, 0);
        }
        let word = &mut self.words[index];
        debug_assert!(*word & chunk.bits == 0, "added twice");
        if *word == 0 {
            self.in_use.push(chunk.index);
        }
        *word |= chunk.bits;
    }

    /// Takes the members of `chunk` out of the set, and returns which of them were in it.
    #[inline]
    pub(crate) fn take(&mut self, chunk: Chunk) -> u64 {
        let Some(word) = self.words.get_mut(chunk.index as usize) else { return 0 };
        let bits = *word & chunk.bits;
        *word ^= bits;
        bits
    }

    /// Whether nothing was added since the set was emptied.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.in_use.is_empty()
    }

    /// Empties the set.
    #[inline]
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Chunk> {
        let Self { words, in_use } = self;
        let chunks = in_use.drain(..).map(|index| Chunk { index, bits: std::mem::take(&mut words[index as usize]) });
        chunks.filter(|chunk| chunk.bits != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn chunk(slot: u32) -> Chunk {
        Chunk::of(slot)
    }

    proptest! {
        /// Any order of changes gives a set, and an emptied one has nothing left over.
        #[test]
        fn same_as_a_set(rounds in prop::collection::vec(prop::collection::vec((any::<bool>(), 0u32..500), 0..60), 1..5)) {
            let mut set = SlotSet::default();
            for changes in rounds {
                let mut model = BTreeSet::new();
                for (add, slot) in changes {
                    if add && model.insert(slot) {
                        set.add(chunk(slot));
                    } else if !add {
                        prop_assert_eq!(set.take(chunk(slot)) != 0, model.remove(&slot));
                    }
                }
                let slots = |chunk: Chunk| (0..64).filter(move |bit| chunk.bits >> bit & 1 == 1).map(move |bit| chunk.index * 64 + bit);
                let mut listed: Vec<_> = set.drain().flat_map(slots).collect();
                listed.sort_unstable();
                prop_assert_eq!(listed, model.into_iter().collect::<Vec<_>>());
                prop_assert!(set.is_empty());
            }
        }
    }
}
