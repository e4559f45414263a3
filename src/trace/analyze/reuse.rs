//! How far back blocks are used again, and so what a cache of any size would hit.
//!
//! A block's *reuse distance* is its place in a list of all blocks, the latest used first, of one request the shallowest
//! first. It is the size of the smallest cache that still holds it, if the cache evicts the least recently used request's
//! deepest block, as engines do. The cache is then a prefix of the list whatever its size, so one pass serves all sizes
//! (Mattson et al., Evaluation techniques for storage hierarchies, 1970).
//!
//! Every block was last used by some request, all blocks of a node by the same one, and along a path from the root these
//! requests only get older. The blocks that one request was the last to use lie one after another on its path. So a
//! path has a few stretches of blocks that moved back together. A tree of sums (Fenwick, 1994) over the requests tells how many blocks the later ones used.

use std::mem;

use crate::trace::prefixes::{Growth, PrefixTree};

/// One cache's list.
#[derive(Debug, Default)]
pub(super) struct Reuse {
    /// By node: the request that used it last, from 1; 0 if none did.
    last: Vec<u32>,
    /// How many blocks each request was the last to use.
    blocks: Sums,
    /// Requests so far, renumbered now and then.
    requests: u32,
    /// How many uses have each distance, as the differences between neighbours.
    steps: Vec<i64>,
}

/// The places that are renumbered for at least.
const FEW: usize = 1 << 10;

impl Reuse {
    /// A row that changed the tree, whichever cache it is for.
    pub(super) fn follow(&mut self, step: Growth) {
        step.follow(&mut self.last);
    }

    /// A request for the blocks of a path.
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
                // The blocks of this path down to here are the latest now; they count although they have moved.
                self.count(depth + self.blocks.after(last) + 1, len);
                self.blocks.subtract(last, len as u32);
            }
            depth += len;
        }
        self.blocks.add(self.requests, depth as u32);
    }

    /// Uses at the distances from `first` on, `n` of them.
    fn count(&mut self, first: usize, n: usize) {
        if self.steps.len() <= first + n {
            self.steps.resize((first + n + 1).max(2 * self.steps.len()), 0);
        }
        self.steps[first] += 1;
        self.steps[first + n] -= 1;
    }

    /// Adds how many uses have each distance, from 0, to `counts`.
    pub(super) fn add_to(&self, counts: &mut Vec<u64>) {
        let mut count = 0;
        counts.resize(counts.len().max(self.steps.len()), 0);
        for (sum, step) in counts.iter_mut().zip(&self.steps) {
            count += step;
            *sum += count as u64;
        }
    }

    /// Forgets the requests that no block was last used by, so that memory grows with the blocks only.
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

/// A Fenwick tree: numbers at the places from 1, and the sums after any place.
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

    /// The sum at all places from this one on.
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
