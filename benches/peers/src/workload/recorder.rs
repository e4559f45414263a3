//! Turns requests into a workload: names their blocks, simulates the workers' caches, and records the events that the
//! workers would send.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use kvleap::Block;
use twox_hash::XxHash3_64;

use super::cache::Cache;
use super::{Change, Kind, Step, Workload};

/// A workload that is being recorded.
pub struct Recorder {
    blocks: Vec<Block>,
    parents: Vec<Option<u32>>,
    numbers: Vec<u32>,
    steps: Vec<Step>,
    changes: Vec<Change>,
    caches: Vec<Cache>,
    ids: Vec<u32>,
}

impl Recorder {
    /// Creates a recorder for `workers` workers, each with an empty cache for `capacity` blocks.
    pub fn new(workers: usize, capacity: usize) -> Self {
        Self {
            blocks: Vec::new(),
            parents: Vec::new(),
            numbers: Vec::new(),
            steps: Vec::new(),
            changes: Vec::new(),
            caches: (0..workers).map(|_| Cache::new(capacity)).collect(),
            ids: vec![0; workers],
        }
    }

    /// Adds a new distinct block that continues `parent`, and returns its number.
    ///
    /// Its sequence hash follows the rule of Dynamo's positional index, which recomputes it: a first block's sequence
    /// hash is its local hash, every other one is the XXH3-64 (seed 1337) of its parent's and its local hash, both
    /// little-endian.
    pub fn block(&mut self, parent: Option<u32>, local: u64) -> u32 {
        let sequence = parent.map_or(local, |number| {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&self.blocks[number as usize].sequence.to_le_bytes());
            bytes[8..].copy_from_slice(&local.to_le_bytes());
            XxHash3_64::oneshot_with_seed(1337, &bytes)
        });
        self.blocks.push(Block { sequence, local });
        self.parents.push(parent);
        self.blocks.len() as u32 - 1
    }

    /// Records a request for `path[..prompt]`, which `worker` serves. It decodes the rest of `path` block by block.
    pub fn request(&mut self, worker: usize, path: &[u32], prompt: usize) {
        let capacity = self.caches[worker].capacity();
        let decoded = (path.len() - prompt).min(capacity / 2);
        let cached = prompt.min(capacity - decoded);
        // If the prompt does not fit, only its beginning is cached, and decoded blocks cannot follow it.
        let path = if cached < prompt { &path[..cached] } else { &path[..prompt + decoded] };

        let first_change = self.changes.len() as u32;
        let query = self.span(&path[..cached]);
        let missing = self.missing(worker, &path[..cached]);
        let mut evicted = self.caches[worker].admit(path);
        // Blocks are evicted when their room is needed: one before each decoded block, the others before the prompt.
        let singles = evicted.split_off(evicted.len().saturating_sub(path.len() - cached));
        if !evicted.is_empty() {
            let blocks = self.span(&evicted);
            self.change(worker, Kind::Removed, blocks);
        }
        for positions in missing {
            let parent = positions.start.checked_sub(1).map(|before| path[before]);
            let at = query.start;
            let blocks = at + positions.start as u32..at + positions.end as u32;
            self.change(worker, Kind::Stored { parent }, blocks);
        }
        let mut singles = singles.into_iter();
        for pair in path[cached.saturating_sub(1)..].windows(2) {
            if let Some(victim) = singles.next() {
                let blocks = self.span(&[victim]);
                self.change(worker, Kind::Removed, blocks);
            }
            let blocks = self.span(&pair[1..]);
            self.change(worker, Kind::Stored { parent: Some(pair[0]) }, blocks);
        }
        self.steps.push(Step { query, changes: first_change..self.changes.len() as u32 });
    }

    /// Removes `blocks` from `worker`, as far as it holds them. Blocks before and behind them stay.
    pub fn lose(&mut self, worker: usize, blocks: &[u32]) {
        let lost: Vec<u32> = blocks.iter().copied().filter(|&block| self.caches[worker].drop_block(block)).collect();
        if lost.is_empty() {
            return;
        }
        let blocks = self.span(&lost);
        self.change(worker, Kind::Removed, blocks);
        if let Some(step) = self.steps.last_mut() {
            step.changes.end = self.changes.len() as u32;
        }
    }

    /// Works out the final state, and returns the workload.
    pub fn finish(mut self, block_size: u32) -> Workload {
        let mut held_by_anyone = vec![false; self.blocks.len()];
        let mut held = 0;
        let stream = std::mem::take(&mut self.changes);
        self.ids.fill(0);
        for worker in 0..self.caches.len() {
            let blocks = self.caches[worker].blocks();
            held += blocks.len() as u64;
            for &block in &blocks {
                held_by_anyone[block as usize] = true;
            }
            self.store_all(worker, &blocks);
        }
        Workload {
            workers: self.caches.len() as u32,
            block_size,
            blocks: self.blocks,
            numbers: self.numbers,
            steps: self.steps,
            changes: stream,
            last: self.changes,
            held,
            distinct: held_by_anyone.iter().filter(|&&held| held).count() as u64,
            miss: false,
        }
    }

    /// Records the stores after which `worker` holds `blocks`. These must be ascending, so that parents come first.
    /// Blocks behind a hole are left out, because a store has to name a parent that the worker holds.
    fn store_all(&mut self, worker: usize, blocks: &[u32]) {
        let mut reached = HashSet::new();
        let mut tails = HashMap::<u32, usize>::new();
        let mut chains = Vec::<(Option<u32>, Vec<u32>)>::new();
        for &block in blocks {
            let parent = self.parents[block as usize];
            if parent.is_some_and(|parent| !reached.contains(&parent)) {
                continue;
            }
            reached.insert(block);
            let chain = if let Some(chain) = parent.and_then(|parent| tails.remove(&parent)) {
                chain
            } else {
                chains.push((parent, Vec::new()));
                chains.len() - 1
            };
            chains[chain].1.push(block);
            tails.insert(block, chain);
        }
        for (parent, blocks) in chains {
            let blocks = self.span(&blocks);
            self.change(worker, Kind::Stored { parent }, blocks);
        }
    }

    /// Returns the ranges of `path` that `worker` does not hold.
    fn missing(&self, worker: usize, path: &[u32]) -> Vec<Range<usize>> {
        let cache = &self.caches[worker];
        let mut ranges = Vec::<Range<usize>>::new();
        for (position, &block) in path.iter().enumerate() {
            if cache.holds(block) {
                continue;
            }
            match ranges.last_mut() {
                Some(range) if range.end == position => range.end += 1,
                _ => ranges.push(position..position + 1),
            }
        }
        ranges
    }

    fn span(&mut self, numbers: &[u32]) -> Range<u32> {
        let start = self.numbers.len() as u32;
        self.numbers.extend_from_slice(numbers);
        start..self.numbers.len() as u32
    }

    fn change(&mut self, worker: usize, kind: Kind, blocks: Range<u32>) {
        let id = self.ids[worker];
        self.ids[worker] += 1;
        self.changes.push(Change { worker: worker as u32, id, kind, blocks });
    }
}
