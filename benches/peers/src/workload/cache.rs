//! One worker's block cache. It evicts the least recently used block first, and a sequence from its tail.

use lru::LruCache;

/// The blocks of one worker, by number.
pub struct Cache {
    held: LruCache<u32, ()>,
    capacity: usize,
}

impl Cache {
    /// Creates an empty cache for `capacity` blocks.
    pub fn new(capacity: usize) -> Self {
        Self { held: LruCache::unbounded(), capacity }
    }

    pub fn capacity(&self) -> usize {
        self.capacity
    }

    pub fn holds(&self, block: u32) -> bool {
        self.held.contains(&block)
    }

    /// Adds the blocks of `path` and returns those that it evicts, in order.
    ///
    /// The path is touched from its tail, so that each block is more recent than the next and is evicted after it. An
    /// engine frees the blocks of a finished request in this order.
    pub fn admit(&mut self, path: &[u32]) -> Vec<u32> {
        debug_assert!(path.len() <= self.capacity);
        for &block in path.iter().rev() {
            self.held.put(block, ());
        }
        let surplus = self.held.len().saturating_sub(self.capacity);
        (0..surplus).filter_map(|_| self.held.pop_lru()).map(|(block, ())| block).collect()
    }

    /// Drops `block`, and returns whether it was held.
    pub fn drop_block(&mut self, block: u32) -> bool {
        self.held.pop(&block).is_some()
    }

    /// Returns all blocks held, in ascending order of their numbers.
    pub fn blocks(&self) -> Vec<u32> {
        let mut blocks: Vec<u32> = self.held.iter().map(|(&block, ())| block).collect();
        blocks.sort_unstable();
        blocks
    }
}
