//! The block cache of one worker.

use std::num::NonZeroUsize;
use std::ops::Range;

use lru::LruCache;

use crate::hash::hash_pair;
use crate::{Block, EventData};

/// An LRU cache of blocks that says what it stores and evicts, as an inference engine does.
///
/// A sequence leaves from its tail: a block is always more recently used than its children. Names its blocks by
/// sequence hashes of its own, a chain of XXH3-64 over (the hash before, local hash); the seed comes before the first.
#[derive(Debug)]
pub struct Cache {
    /// Sequence hashes. Unbounded, because evictions must be announced before the store that needs the room.
    blocks: LruCache<u64, ()>,
    capacity: usize,
    seed: u64,
}

impl Cache {
    /// An empty cache of `capacity` blocks, whose sequence hashes depend on `seed`.
    pub fn new(capacity: NonZeroUsize, seed: u64) -> Self {
        Self { blocks: LruCache::unbounded(), capacity: capacity.get(), seed }
    }

    /// Serves a request: first the missing blocks of the prompt are stored at once, then every block of the output as
    /// it fills. Both are local hashes. What does not fit the whole cache is not cached.
    ///
    /// Returns what happened, in order: evictions (`Removed`, tail first) before the `Stored` that needs the room.
    /// Costs a few hash table operations per block of the sequence.
    pub fn serve(&mut self, prompt: &[u64], output: &[u64]) -> Vec<EventData> {
        let prompt = &prompt[..prompt.len().min(self.capacity)];
        let output = &output[..output.len().min(self.capacity - prompt.len())];
        let sequence = self.name(prompt.iter().chain(output));

        // A cached block's ancestors are cached as well, so that what follows the first missing one is missing. What is
        // in use becomes the most recent at once, and is not evicted for the rest.
        let cached = sequence.iter().take_while(|block| self.blocks.contains(&block.sequence)).count();
        self.touch(&sequence[..cached]);

        let mut events = Vec::new();
        if cached < prompt.len() {
            self.store(&sequence, cached..prompt.len(), &mut events);
        }
        for filled in cached.max(prompt.len())..sequence.len() {
            self.store(&sequence, filled..filled + 1, &mut events);
        }
        self.touch(&sequence);
        events
    }

    /// The blocks with these local hashes under this cache's names.
    fn name<'a>(&self, locals: impl Iterator<Item = &'a u64>) -> Vec<Block> {
        let mut before = self.seed;
        locals
            .map(|&local| {
                before = hash_pair(before, local);
                Block { sequence: before, local }
            })
            .collect()
    }

    /// Marks cached blocks as just used, the first as the most recent.
    fn touch(&mut self, sequence: &[Block]) {
        for block in sequence.iter().rev() {
            self.blocks.promote(&block.sequence);
        }
    }

    /// Stores the blocks `new` of a sequence, evicting to make room; those before are cached.
    fn store(&mut self, sequence: &[Block], new: Range<usize>, events: &mut Vec<EventData>) {
        let parent = new.start.checked_sub(1).map(|parent| sequence[parent].sequence);
        let blocks = sequence[new].to_vec();
        let excess = (self.blocks.len() + blocks.len()).saturating_sub(self.capacity);
        if excess > 0 {
            let evicted = (0..excess).map_while(|_| self.blocks.pop_lru()).map(|(sequence, ())| sequence).collect();
            events.push(EventData::Removed { blocks: evicted });
        }
        for block in &blocks {
            self.blocks.put(block.sequence, ());
        }
        events.push(EventData::Stored { parent, blocks });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An event as the local hashes it names; a cache of seed 0 speaks.
    fn spell(events: &[EventData], known: &[&[u64]]) -> Vec<String> {
        let chain = |path: &&[u64]| path.iter().fold(0, |before, &local| hash_pair(before, local));
        let local = |sequence: u64| {
            let path = known.iter().find(|path| chain(path) == sequence).expect("a known sequence hash");
            path.last().expect("not the root").to_string()
        };
        let spell = |event: &EventData| match event {
            EventData::Stored { parent, blocks } => {
                let parent = parent.map_or("root".to_owned(), local);
                let blocks: Vec<String> = blocks.iter().map(|block| block.local.to_string()).collect();
                format!("{parent}+{}", blocks.join(","))
            }
            EventData::Removed { blocks } => {
                let blocks: Vec<String> = blocks.iter().map(|&sequence| local(sequence)).collect();
                format!("-{}", blocks.join(","))
            }
            other => format!("{other:?}"),
        };
        events.iter().map(spell).collect()
    }

    fn cache(capacity: usize) -> Cache {
        Cache::new(NonZeroUsize::new(capacity).unwrap(), 0)
    }

    #[test]
    fn the_prompt_is_stored_at_once_and_the_output_block_by_block() {
        let events = cache(9).serve(&[1, 2, 3], &[4, 5]);
        assert_eq!(spell(&events, &[&[1, 2, 3], &[1, 2, 3, 4]]), ["root+1,2,3", "3+4", "4+5"]);
    }

    #[test]
    fn only_what_is_missing_is_stored() {
        let mut cache = cache(9);
        cache.serve(&[1, 2, 3], &[]);
        assert_eq!(spell(&cache.serve(&[1, 2, 7, 8], &[]), &[&[1, 2]]), ["2+7,8"]);
        assert_eq!(cache.serve(&[1, 2], &[]), []);
        assert_eq!(spell(&cache.serve(&[1, 2, 3], &[4]), &[&[1, 2, 3]]), ["3+4"]);
        assert_eq!(cache.serve(&[1, 2, 3], &[4]), [], "an output that is cached already");
    }

    #[test]
    fn a_sequence_is_evicted_from_its_tail_before_the_store_that_needs_the_room() {
        let mut cache = cache(4);
        cache.serve(&[1, 2], &[3]);
        assert_eq!(
            spell(&cache.serve(&[7, 8], &[9]), &[&[1, 2], &[1, 2, 3], &[7, 8]]),
            ["-3", "root+7,8", "-2", "8+9"]
        );
        assert_eq!(spell(&cache.serve(&[4, 5], &[]), &[&[1], &[7, 8, 9]]), ["-1,9", "root+4,5"]);
    }

    #[test]
    fn what_is_in_use_is_not_evicted() {
        let mut cache = cache(4);
        cache.serve(&[1, 2], &[]);
        cache.serve(&[7, 8], &[]);
        assert_eq!(spell(&cache.serve(&[1, 2], &[3]), &[&[1, 2], &[7, 8]]), ["-8", "2+3"]);
    }

    #[test]
    fn what_does_not_fit_is_not_cached() {
        let mut cache = cache(3);
        let events = cache.serve(&[1, 2], &[3, 4, 5]);
        assert_eq!(spell(&events, &[&[1, 2]]), ["root+1,2", "2+3"]);
        let events = cache.serve(&[6, 7, 8, 9], &[10]);
        assert_eq!(spell(&events, &[&[1], &[1, 2], &[1, 2, 3]]), ["-3,2,1", "root+6,7,8"]);
    }

    #[test]
    fn the_seed_changes_the_names_only() {
        let capacity = NonZeroUsize::new(4).unwrap();
        let [EventData::Stored { blocks: even, .. }] = &Cache::new(capacity, 0).serve(&[1, 2], &[])[..] else {
            panic!()
        };
        let [EventData::Stored { blocks: odd, .. }] = &Cache::new(capacity, 1).serve(&[1, 2], &[])[..] else {
            panic!()
        };
        for (even, odd) in even.iter().zip(odd) {
            assert_eq!(even.local, odd.local);
            assert_ne!(even.sequence, odd.sequence);
        }
    }
}
