//! One worker's block cache: least recently used first, and of one sequence the tail before the head.

use lru::LruCache;

/// The blocks of one worker, by number.
pub struct Cache {
    held: LruCache<u32, ()>,
    capacity: usize,
}

impl Cache {
    /// An empty cache of `capacity` blocks.
    pub fn new(capacity: usize) -> Self {
        Self { held: LruCache::unbounded(), capacity }
    }

    pub fn capacity(&self) -> usize {
        self.capacity
    }

    pub fn holds(&self, block: u32) -> bool {
        self.held.contains(&block)
    }

    /// Takes in `path` and returns what had to go, in the order it went.
    ///
    /// Touched from the tail, so that a block is always younger than what follows it: that is how an engine frees
    /// the blocks of a finished request.
    pub fn admit(&mut self, path: &[u32]) -> Vec<u32> {
        debug_assert!(path.len() <= self.capacity);
        for &block in path.iter().rev() {
            self.held.put(block, ());
        }
        let surplus = self.held.len().saturating_sub(self.capacity);
        (0..surplus).filter_map(|_| self.held.pop_lru()).map(|(block, ())| block).collect()
    }

    /// Drops `block`; false where it was not held.
    pub fn drop_block(&mut self, block: u32) -> bool {
        self.held.pop(&block).is_some()
    }

    /// All blocks held, in the order of their numbers.
    pub fn blocks(&self) -> Vec<u32> {
        let mut blocks: Vec<u32> = self.held.iter().map(|(&block, ())| block).collect();
        blocks.sort_unstable();
        blocks
    }
}
