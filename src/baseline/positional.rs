//! The sixth design: a positional index, searched by jumps. One concurrent map leads from a position and a local hash to
//! the chain hashes (the story's sequence hashes) that were stored there, and those to their workers. Lookups run on
//! the caller's thread; a pool of threads applies the events.
//!
//! A lookup looks at every 32nd position. If as many workers are there as are left, the positions between are skipped;
//! if not, they are scanned. The query's chain hashes are computed only as far as a position needs them that has more
//! than one. The story takes the engines' own for them, if they are of its kind; here they are computed where blocks are
//! stored, each from its parent's, so that engines may name blocks as they like.
//!
//! **Cost**: a lookup of D blocks costs D / 32 probes of a large table where all workers hold all, and otherwise a probe
//! and a comparison of all workers that are left per scanned block. A probe takes a lock that it shares with whoever
//! writes nearby. An event costs a hash and a few table operations per block.
//!
//! **Wrong answers**, mostly too deep:
//! - between two looks nothing is compared: a query that differs in a skipped block still counts as a match;
//! - nor is a hole there seen;
//! - looks compare numbers of workers: others that are there, as many as are missing, stand in for them;
//! - a block that is the only one with its tokens at its position counts under whatever prefix;
//! - where a worker gives the name of a block to another, the first is held for ever;
//! - too shallow, where a worker has two names for a block and removes one.

use std::collections::hash_map::Entry as Slot;
use std::sync::Arc;

use dashmap::{DashMap, Entry};
use parking_lot::RwLock;
use rustc_hash::{FxBuildHasher, FxHashMap, FxHashSet};
use twox_hash::XxHash3_64;

use super::model::{Model, drain};
use super::pool::table_of;
use crate::{Event, EventData, Rejection, Worker};

/// Positions from one look to the next, as in the story.
const JUMP: usize = 32;

type Holders = FxHashSet<Worker>;

#[derive(Default)]
pub(super) struct Positional {
    /// By position and local hash; never without holders.
    index: DashMap<(usize, u64), Chains, FxBuildHasher>,
    /// By worker and sequence hash. A worker has one thread, which alone takes the inner lock.
    places: DashMap<Worker, RwLock<FxHashMap<u64, Place>>, FxBuildHasher>,
}

/// Who holds the blocks with equal tokens at one position, by chain hash.
enum Chains {
    /// The common case, without a map.
    One(u64, Holders),
    Many(FxHashMap<u64, Holders>),
}

/// Where a block is.
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

/// A block's chain hash: of the chain hash before it and its local hash.
fn chain(before: Option<u64>, local: u64) -> u64 {
    let Some(before) = before else { return local };
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&before.to_le_bytes());
    bytes[8..].copy_from_slice(&local.to_le_bytes());
    XxHash3_64::oneshot(&bytes)
}

/// A query, with its chain hashes as far as they were needed.
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

    /// Takes the worker away. Returns whether nobody is left.
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

    /// Reads who holds the query's block at a position.
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
    use crate::Block;

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
