//! Reuse distances, and so what an LRU cache of any size would hit, in one pass.
//!
//! The *reuse distance* of a block is its depth in a stack of all blocks, the most recently used on top. A cache that
//! evicts the least recently used block holds the top of the stack, whatever its size, so a use is a hit in exactly the
//! caches that are at least as large as the distance (Mattson, Gecsei, Slutz and Traiger, "Evaluation techniques for
//! storage hierarchies", 1970). Within one request the shallower block is on top, because engines evict a sequence from
//! its end.
//!
//! To find a depth, Bennett and Kruskal ("LRU stack processing", 1975) keep a tree of sums over time that counts the
//! blocks whose last use is later. This file does the same with a Fenwick tree (1994), but over requests and nodes of
//! the prefix tree instead of single uses of single blocks. All blocks of a node were last used by the same request,
//! and along a path from the root these requests only get older: whoever uses a block uses all blocks before it. So a
//! node's blocks move to the top together, their distances are consecutive numbers, and a request costs O(log requests)
//! for each node of its path, however many blocks it has.

use std::mem;

use crate::trace::prefixes::{Growth, PrefixTree};

/// The stack of one cache.
#[derive(Debug, Default)]
pub(super) struct Reuse {
    /// By node, the last request that used it, from 1; 0 if none did.
    last: Vec<u32>,
    /// By request, how many blocks it was the last to use.
    blocks: Sums,
    /// Requests so far. They are renumbered now and then.
    requests: u32,
    /// How many uses have each distance, as differences between neighbours, so that a node adds two numbers.
    steps: Vec<i64>,
}

/// The least number of places to renumber for.
const FEW: usize = 1 << 10;

impl Reuse {
    /// Follows a change of the tree, which every cache must do, whichever one gets the request.
    pub(super) fn follow(&mut self, growth: Growth) {
        growth.follow(&mut self.last);
    }

    /// Counts a request for the blocks of a path.
    pub(super) fn request(&mut self, path: &[u32], prefixes: &PrefixTree) {
        if self.requests as usize == self.blocks.len() {
            self.renumber();
        }
        self.requests += 1;
        let mut depth = 0;
        for &node in path {
            let len = prefixes.len_of(node);
            let last = mem::replace(&mut self.last[node as usize], self.requests);
            if last > 0 {
                // Above the node's first block are the blocks that later requests used last, and the `depth` blocks
                // before it on this path. Those are counted on their own, since they have left the sums of their last
                // requests already and come to this one's only below.
                self.count(depth + self.blocks.after(last) + 1, len);
                self.blocks.subtract(last, len as u32);
            }
            depth += len;
        }
        self.blocks.add(self.requests, depth as u32);
    }

    /// Counts one use for each of the `n` distances from `first` on.
    fn count(&mut self, first: usize, n: usize) {
        if self.steps.len() <= first + n {
            self.steps.resize((first + n + 1).max(2 * self.steps.len()), 0);
        }
        self.steps[first] += 1;
        self.steps[first + n] -= 1;
    }

    /// Adds the number of uses with each distance, from 0, to `counts`.
    pub(super) fn add_to(&self, counts: &mut Vec<u64>) {
        let mut count = 0;
        counts.resize(counts.len().max(self.steps.len()), 0);
        for (sum, step) in counts.iter_mut().zip(&self.steps) {
            count += step;
            *sum += count as u64;
        }
    }

    /// Renumbers the requests that are the last to use some block, and forgets all others. Memory therefore grows with
    /// the blocks and not with the requests.
    fn renumber(&mut self) {
        let blocks = self.blocks.values();
        let mut numbers = vec![0; blocks.len() + 1];
        let mut left = Vec::new();
        for (number, &held) in (1..).zip(&blocks).filter(|(_, held)| **held > 0) {
            left.push(held);
            numbers[number] = left.len() as u32;
        }
        self.last.iter_mut().for_each(|request| *request = numbers[*request as usize]);
        self.requests = left.len() as u32;
        left.resize((2 * left.len()).max(FEW), 0);
        self.blocks = Sums::new(left);
    }
}

/// A Fenwick tree: numbers at places from 1, and the sum after any place.
#[derive(Debug, Default)]
struct Sums {
    tree: Vec<u32>,
    total: usize,
}

impl Sums {
    fn new(mut values: Vec<u32>) -> Self {
        let total = values.iter().map(|&value| value as usize).sum();
        for place in 1..=values.len() {
            let parent = place + (place & place.wrapping_neg());
            if parent <= values.len() {
                values[parent - 1] += values[place - 1];
            }
        }
        Self { tree: values, total }
    }

    fn len(&self) -> usize {
        self.tree.len()
    }

    fn values(&self) -> Vec<u32> {
        let mut values = self.tree.clone();
        for place in (1..=values.len()).rev() {
            let parent = place + (place & place.wrapping_neg());
            if parent <= values.len() {
                values[parent - 1] -= values[place - 1];
            }
        }
        values
    }

    /// Returns the sum over all places after this one.
    fn after(&self, place: u32) -> usize {
        let mut before = 0;
        let mut place = place as usize;
        while place > 0 {
            before += self.tree[place - 1] as usize;
            place &= place - 1;
        }
        self.total - before
    }

    fn add(&mut self, place: u32, amount: u32) {
        self.total += amount as usize;
        self.climb(place, |sum| *sum += amount);
    }

    fn subtract(&mut self, place: u32, amount: u32) {
        self.total -= amount as usize;
        self.climb(place, |sum| *sum -= amount);
    }

    fn climb(&mut self, place: u32, change: impl Fn(&mut u32)) {
        let mut place = place as usize;
        while place <= self.tree.len() {
            change(&mut self.tree[place - 1]);
            place += place & place.wrapping_neg();
        }
    }
}
