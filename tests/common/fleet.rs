//! Random fleets of well-behaved caches, on which even designs that are not exact everywhere must be exact.

use std::collections::{BTreeMap, HashMap, HashSet};

use kvleap::{Block, Event, EventData, Worker};
use proptest::prelude::*;

/// A fleet of caches that hold every block together with all blocks before it, and under one name. Every worker has its
/// own names: different workers name a block differently, and ranks of one engine use the same name for different
/// blocks.
#[derive(Debug, Default)]
pub(crate) struct Fleet {
    /// Local hashes that are unique to a prefix. Without them, local hashes are taken from the paths.
    unique: Option<HashMap<Vec<u64>, u64>>,
    caches: BTreeMap<Worker, Cache>,
    /// Every prefix that was ever stored, as local hashes.
    pub(crate) known: HashSet<Vec<u64>>,
}

#[derive(Debug, Default)]
struct Cache {
    /// Sequence hashes, by path from the root.
    held: BTreeMap<Vec<u64>, u64>,
    /// The number of names given out.
    names: u64,
    removed: bool,
}

/// What a worker does. Numbers choose among the blocks that it holds.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    Extend(usize, Vec<u64>),
    Evict(usize),
    Whole(EventData),
}

pub(crate) fn acts() -> impl Strategy<Value = Vec<(Worker, Act)>> {
    let worker = (0..4u64, 0..2u32).prop_map(|(id, rank)| Worker::new(id, rank));
    let act = prop_oneof![
        12 => (any::<usize>(), prop::collection::vec(0..3u64, 1..50)).prop_map(|(at, path)| Act::Extend(at, path)),
        8 => any::<usize>().prop_map(Act::Evict),
        1 => Just(Act::Whole(EventData::Cleared)),
        1 => Just(Act::Whole(EventData::WorkerRemoved)),
        2 => Just(Act::Whole(EventData::WorkerAdded)),
    ];
    prop::collection::vec((worker, act), 0..80)
}

impl Fleet {
    /// Creates an empty fleet, with local hashes that are unique to a prefix, or with only three local hashes.
    pub(crate) fn new(unique: bool) -> Self {
        Self { unique: unique.then(HashMap::new), ..Self::default() }
    }

    /// Returns the local hashes on the path to a block.
    fn locals(&mut self, path: &[u64]) -> Vec<u64> {
        let Some(unique) = &mut self.unique else { return path.to_vec() };
        let mut local = |len| {
            let next = unique.len() as u64;
            *unique.entry(path[..len].to_vec()).or_insert(next)
        };
        (1..=path.len()).map(&mut local).collect()
    }

    /// Performs an act, and returns the event that the worker sends.
    pub(crate) fn play(&mut self, (worker, act): &(Worker, Act)) -> Event {
        let mut cache = self.caches.remove(worker).unwrap_or_default();
        let data = match act {
            Act::Extend(at, more) => {
                let at = (at % (cache.held.len() + 1)).checked_sub(1).and_then(|held| cache.held.iter().nth(held));
                let parent = at.map(|(_, &name)| name);
                let mut path = at.map(|(path, _)| path.clone()).unwrap_or_default();
                let first = path.len();
                path.extend(more);
                let locals = self.locals(&path);
                let blocks = (first..path.len()).map(|position| {
                    cache.names += 1;
                    let name = cache.names * 8 + worker.id;
                    let sequence = *cache.held.entry(path[..=position].to_vec()).or_insert(name);
                    Block { sequence, local: locals[position] }
                });
                let blocks = blocks.collect();
                self.known.insert(locals);
                EventData::Stored { parent, blocks }
            }
            Act::Evict(at) => {
                let path = cache.held.keys().nth(at % cache.held.len().max(1)).cloned().unwrap_or_default();
                let mut blocks = Vec::new();
                cache.held.retain(|other, &mut name| {
                    let behind = other.starts_with(&path);
                    blocks.extend(behind.then_some(name));
                    !behind
                });
                EventData::Removed { blocks: blocks.into_iter().rev().collect() }
            }
            Act::Whole(data) => {
                cache.removed = match data {
                    EventData::WorkerRemoved => true,
                    EventData::WorkerAdded => false,
                    _ => cache.removed,
                };
                if *data != EventData::WorkerAdded {
                    cache.held.clear();
                }
                data.clone()
            }
        };
        if cache.removed {
            cache.held.clear();
        }
        self.caches.insert(*worker, cache);
        Event { worker: *worker, id: 0, data }
    }
}
