//! The sixth design: a positional inverted index, searched by jumps as skip pointers do in search engines. One concurrent
//! map leads from a position and a local hash to the chain hashes (the story's sequence hashes) that were stored there,
//! and from these to their workers. Lookups run on the caller's thread, and a pool of threads applies the events.
//!
//! A lookup probes every 32nd position. If as many workers are there as remain, it skips the positions between; if not,
//! it scans them. It computes chain hashes of the query only as far as a position has several and needs to tell them
//! apart. The story uses the engines' own hashes if they are of the right kind; here they are computed when blocks are
//! stored, each from that of its parent, so that engines may name blocks as they like.
//!
//! **Cost**: a lookup of D blocks takes D / 32 probes of a large table if all workers hold everything; otherwise each
//! scanned block costs a probe and a comparison of all remaining workers. A probe takes a lock that it shares with
//! writers nearby. An event costs a hash and a few table operations per block.
//!
//! **Wrong answers**, mostly too deep:
//! - nothing is compared between two probes: a query that differs in a skipped block still counts as a match;
//! - holes between two probes are not seen either;
//! - probes compare numbers of workers: as many others stand in for workers that are missing;
//! - a block that is the only one with its tokens at its position counts under any prefix;
//! - where a worker gives the sequence hash of a block to another block, the first is held for ever;
//! - too shallow, where a worker has two sequence hashes for a block and removes one.

use std::collections::hash_map::Entry as Slot;
use std::sync::Arc;

use dashmap::{DashMap, Entry};
use parking_lot::RwLock;
use rustc_hash::{FxBuildHasher, FxHashMap, FxHashSet};
use twox_hash::XxHash3_64;

use super::model::{Model, drain};
use super::pool::table_of;
use crate::event::{Event, EventData, Worker};
use crate::index::Rejection;

/// Positions from one probe to the next, as in the story.
const JUMP: usize = 32;

type Holders = FxHashSet<Worker>;

#[derive(Default)]
pub(super) struct Positional {
    /// The chain hashes by position and local hash; none is without holders.
    index: DashMap<(usize, u64), Chains, FxBuildHasher>,
    /// The places by worker and sequence hash. Only the worker's own thread takes the inner lock.
    places: DashMap<Worker, RwLock<FxHashMap<u64, Place>>, FxBuildHasher>,
}

/// The holders of the blocks with equal tokens at one position, by chain hash.
enum Chains {
    /// One chain hash, the common case, which needs no map.
    One(u64, Holders),
    Many(FxHashMap<u64, Holders>),
}

/// The place of a block.
#[derive(Clone, Copy)]
struct Place {
    position: usize,
    local: u64,
    chain: u64,
}

impl Place {
    fn after(parent: Option<Self>, local: u64) -> Self {
        let position = parent.map_or(0, |parent| parent.position + 1);
        Self { position, local, chain: chain(parent.map(|parent| parent.chain), local) }
    }

    fn key(self) -> (usize, u64) {
        (self.position, self.local)
    }
}

/// Hashes a block's local hash with the chain hash before it.
fn chain(before: Option<u64>, local: u64) -> u64 {
    let Some(before) = before else { return local };
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&before.to_le_bytes());
    bytes[8..].copy_from_slice(&local.to_le_bytes());
    XxHash3_64::oneshot(&bytes)
}

/// A query, with its chain hashes as far as they were needed so far.
struct Query<'q> {
    locals: &'q [u64],
    chains: Vec<u64>,
}

impl Query<'_> {
    fn chain(&mut self, position: usize) -> u64 {
        while self.chains.len() <= position {
            self.chains.push(chain(self.chains.last().copied(), self.locals[self.chains.len()]));
        }
        self.chains[position]
    }
}

impl Chains {
    fn insert(&mut self, chain: u64, worker: Worker) {
        match self {
            Self::One(only, holders) if *only == chain => {
                holders.insert(worker);
            }
            Self::One(only, holders) => {
                let other = (*only, std::mem::take(holders));
                *self = Self::Many(FxHashMap::from_iter([other, (chain, Holders::from_iter([worker]))]));
            }
            Self::Many(chains) => {
                chains.entry(chain).or_default().insert(worker);
            }
        }
    }

    /// Removes the worker. Returns whether nobody is left.
    fn remove(&mut self, chain: u64, worker: Worker) -> bool {
        match self {
            Self::One(only, holders) => {
                if *only == chain {
                    holders.remove(&worker);
                }
                holders.is_empty()
            }
            Self::Many(chains) => {
                if let Slot::Occupied(mut holders) = chains.entry(chain) {
                    holders.get_mut().remove(&worker);
                    if holders.get().is_empty() {
                        holders.remove();
                    }
                }
                chains.is_empty()
            }
        }
    }
}

impl Positional {
    fn hold(&self, worker: Worker, place: Place) {
        let only = || Chains::One(place.chain, Holders::from_iter([worker]));
        self.index.entry(place.key()).and_modify(|chains| chains.insert(place.chain, worker)).or_insert_with(only);
    }

    fn let_go(&self, worker: Worker, place: Place) {
        if let Entry::Occupied(mut chains) = self.index.entry(place.key())
            && chains.get_mut().remove(place.chain, worker)
        {
            chains.remove();
        }
    }

    /// Reads the workers that hold the query's block at a position.
    fn holders<R>(&self, query: &mut Query<'_>, position: usize, read: impl FnOnce(&Holders) -> R) -> R {
        let chains = self.index.get(&(position, query.locals[position]));
        let holders = chains.as_deref().and_then(|chains| match chains {
            Chains::One(_, holders) => Some(holders),
            Chains::Many(chains) => chains.get(&query.chain(position)),
        });
        read(holders.unwrap_or(&Holders::default()))
    }
}

impl Model for Arc<Positional> {
    fn apply(&mut self, event: &Event) -> Result<(), Rejection> {
        let worker = event.worker;
        match &event.data {
            EventData::Stored { parent, blocks } => {
                let places = table_of(worker, &self.places);
                let mut places = places.write();
                let mut at = match parent {
                    None => None,
                    Some(parent) => Some(*places.get(parent).ok_or(Rejection::UnknownParent)?),
                };
                for block in blocks {
                    let place = Place::after(at, block.local);
                    self.hold(worker, place);
                    places.insert(block.sequence, place);
                    at = Some(place);
                }
            }
            EventData::Removed { blocks } => {
                let Some(places) = self.places.get(&worker) else { return Ok(()) };
                let mut places = places.write();
                for place in blocks.iter().filter_map(|sequence| places.remove(sequence)) {
                    self.let_go(worker, place);
                }
            }
            EventData::Cleared | EventData::WorkerRemoved => {
                let Some((_, places)) = self.places.remove(&worker) else { return Ok(()) };
                for place in places.into_inner().into_values() {
                    self.let_go(worker, place);
                }
            }
            EventData::WorkerAdded | EventData::CopiesCounted => {}
        }
        Ok(())
    }

    fn find(&self, query: &[u64], scores: &mut Vec<(Worker, u32)>) {
        let Some(last) = query.len().checked_sub(1) else { return };
        let query = &mut Query { locals: query, chains: Vec::new() };
        let mut active: Vec<_> = self.holders(query, 0, |holders| holders.iter().copied().collect());
        let mut at = 0;
        while at < last && !active.is_empty() {
            let next = last.min(at + JUMP);
            if self.holders(query, next, Holders::len) != active.len() {
                for position in at + 1..=next {
                    if active.is_empty() {
                        return;
                    }
                    self.holders(query, position, |holders| {
                        drain(&mut active, position as u32, scores, |worker| holders.contains(worker));
                    });
                }
            }
            at = next;
        }
        scores.extend(active.into_iter().map(|worker| (worker, last as u32 + 1)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Block;

    #[test]
    fn what_nobody_holds_is_given_back() {
        let index = &mut Arc::<Positional>::default();
        let mut tell =
            |id, data| index.apply(&Event { worker: Worker::new(id, 0), id: 0, data }).expect("it makes sense");
        // Equal blocks at equal positions, behind different ones and by two workers.
        for (id, first) in [(1, 10), (1, 20), (2, 10)] {
            let blocks = (first..).zip([first, 30, 31]).map(|(sequence, local)| Block { sequence, local }).collect();
            tell(id, EventData::Stored { parent: None, blocks });
        }
        tell(1, EventData::Removed { blocks: (10..13).chain(20..23).collect() });
        tell(2, EventData::Cleared);
        assert!(index.index.is_empty());
    }
}
