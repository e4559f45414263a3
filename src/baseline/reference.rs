//! A literal model of the contract, with which every answer of the index is compared.
//!
//! It is an executable specification in the sense of model-based testing: it shares no code with the index, and is
//! simple rather than fast. A worker is a map from sequence hash to the place that the hash names, a place is its
//! parent's place and a local hash, and a query is walked position by position.

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::{FxHashMap as HashMap, FxHashSet as HashSet};

use crate::event::{Block, Event, EventData, Worker};
use crate::index::{MAX_LEFT_OUT, Rejection};

/// A model of the whole fleet, exact and slow. An event costs a few hash table operations per block that it names, and a
/// [`find`](Self::find) one per worker and matched block. Places are interned and never freed.
#[derive(Debug)]
pub struct Reference {
    max_positions: u32,
    max_workers: u32,
    /// All places that were ever named, by the place before them and the local hash.
    places: HashMap<(Option<Place>, u64), Place>,
    workers: BTreeMap<Worker, Cache>,
    removed: BTreeSet<Worker>,
}

/// A position under one exact prefix of local hashes. Two places are equal if and only if position and prefix are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Place {
    /// A number that only this prefix has.
    id: usize,
    /// The block's index from the root.
    position: u32,
}

/// What one worker holds.
#[derive(Debug, Default)]
struct Cache {
    /// The place that each sequence hash names.
    named: HashMap<u64, Place>,
    /// How many sequence hashes name a place; absent where none does.
    names: HashMap<Place, usize>,
    /// How many copies the worker has of the block that each sequence hash names; `None` if copies are not counted.
    copies: Option<HashMap<u64, u64>>,
    /// How many copies of which blocks the engine may hold although the model does not; one each, if copies are not
    /// counted.
    left_out: HashMap<u64, u64>,
    /// Whether more blocks were left out than are remembered.
    too_many_left_out: bool,
}

impl Cache {
    fn store(&mut self, sequence: u64, place: Place) {
        if self.copies.is_none() {
            self.left_out.remove(&sequence);
        }
        if self.named.get(&sequence) == Some(&place) {
            if let Some(copies) = &mut self.copies {
                *copies.get_mut(&sequence).expect("what is held has a copy") += 1;
            }
            return;
        }
        self.forget(sequence);
        self.named.insert(sequence, place);
        *self.names.entry(place).or_default() += 1;
        if let Some(copies) = &mut self.copies {
            copies.insert(sequence, 1);
        }
    }

    fn remove(&mut self, sequence: u64) {
        let Some(copies) = &mut self.copies else {
            self.left_out.remove(&sequence);
            self.forget(sequence);
            return;
        };
        if let Some(copies) = copies.get_mut(&sequence) {
            *copies -= 1;
            if *copies == 0 {
                self.forget(sequence);
            }
        } else if let Some(left_out) = self.left_out.get_mut(&sequence) {
            *left_out -= 1;
            if *left_out == 0 {
                self.left_out.remove(&sequence);
            }
        }
    }

    /// Remembers the blocks of a rejected store.
    fn leave_out(&mut self, blocks: &[Block]) {
        for block in blocks {
            let left_out = self.left_out.entry(block.sequence).or_default();
            *left_out = if self.copies.is_some() { *left_out + 1 } else { 1 };
        }
        self.too_many_left_out |= self.left_out.len() as u64 > MAX_LEFT_OUT;
    }

    /// Returns how many blocks are left out, or one more than are remembered.
    fn left_out(&self) -> u64 {
        if self.too_many_left_out { MAX_LEFT_OUT + 1 } else { self.left_out.len() as u64 }
    }

    /// Removes a block, however many copies there are.
    fn forget(&mut self, sequence: u64) {
        if let Some(copies) = &mut self.copies {
            copies.remove(&sequence);
        }
        let Some(place) = self.named.remove(&sequence) else { return };
        let names = self.names.get_mut(&place).expect("a place that is named has a count");
        *names -= 1;
        if *names == 0 {
            self.names.remove(&place);
        }
    }
}

impl Default for Reference {
    fn default() -> Self {
        Self::new()
    }
}

impl Reference {
    /// Creates an empty fleet without limits.
    pub fn new() -> Self {
        Self {
            max_positions: u32::MAX,
            max_workers: u32::MAX,
            places: HashMap::default(),
            workers: BTreeMap::new(),
            removed: BTreeSet::new(),
        }
    }

    /// Limits blocks to positions below `limit`. Default `u32::MAX`.
    #[must_use]
    pub fn max_positions(mut self, limit: u32) -> Self {
        self.max_positions = limit;
        self
    }

    /// Limits the workers that are known at a time. Default `u32::MAX`.
    #[must_use]
    pub fn max_workers(mut self, limit: u32) -> Self {
        self.max_workers = limit;
        self
    }

    /// Applies one event.
    ///
    /// # Errors
    /// Says why the event changed nothing. If several reasons apply, it is the first in this order: the worker was
    /// removed, there are too many workers, there are no blocks, a block is its own parent, the parent is unknown, a
    /// position is beyond the limit. An event that is rejected for its blocks (the last four) still makes its worker known.
    pub fn apply(&mut self, event: &Event) -> Result<(), Rejection> {
        let worker = event.worker;
        match &event.data {
            EventData::Stored { parent, blocks } => {
                self.admit(worker)?;
                let stored = self.store(worker, *parent, blocks);
                if stored.is_err() {
                    self.admit(worker)?.leave_out(blocks);
                }
                stored
            }
            EventData::Removed { blocks } => {
                let cache = self.admit(worker)?;
                if blocks.is_empty() {
                    return Err(Rejection::Empty);
                }
                for &sequence in blocks {
                    cache.remove(sequence);
                }
                Ok(())
            }
            EventData::Cleared => {
                let cache = self.admit(worker)?;
                let copies = cache.copies.take().map(|_| HashMap::default());
                *cache = Cache { copies, ..Cache::default() };
                Ok(())
            }
            EventData::WorkerRemoved => {
                self.workers.remove(&worker);
                self.removed.insert(worker);
                Ok(())
            }
            EventData::WorkerAdded => {
                self.know(worker)?;
                self.removed.remove(&worker);
                Ok(())
            }
            EventData::CopiesCounted => {
                let cache = self.admit(worker)?;
                if cache.copies.is_none() {
                    cache.copies = Some(cache.named.keys().map(|&sequence| (sequence, 1)).collect());
                }
                Ok(())
            }
        }
    }

    /// Does what an import does before it applies an event of an export: a worker that is added loses what it had, and a
    /// block that is removed loses all copies but one.
    pub fn replace(&mut self, event: &Event) {
        let Some(cache) = self.workers.get_mut(&event.worker) else { return };
        match (&event.data, &mut cache.copies) {
            (EventData::WorkerAdded, _) => *cache = Cache::default(),
            (EventData::Removed { blocks }, Some(copies)) => {
                for sequence in blocks {
                    copies.entry(*sequence).and_modify(|count| *count = 1);
                }
            }
            _ => {}
        }
    }

    /// Returns the cache of a worker, unless that was removed.
    fn admit(&mut self, worker: Worker) -> Result<&mut Cache, Rejection> {
        if self.removed.contains(&worker) {
            return Err(Rejection::WorkerRemoved);
        }
        self.know(worker)
    }

    /// Returns the cache of a worker; an empty one if the worker is new.
    fn know(&mut self, worker: Worker) -> Result<&mut Cache, Rejection> {
        if !self.workers.contains_key(&worker) && self.workers.len() >= self.max_workers as usize {
            return Err(Rejection::TooManyWorkers);
        }
        Ok(self.workers.entry(worker).or_default())
    }

    /// Applies a `Stored` event of a known worker.
    fn store(&mut self, worker: Worker, parent: Option<u64>, blocks: &[Block]) -> Result<(), Rejection> {
        let cache = self.workers.get_mut(&worker).expect("the caller has admitted the worker");
        if blocks.is_empty() {
            return Err(Rejection::Empty);
        }
        let mut previous = parent;
        for block in blocks {
            if previous == Some(block.sequence) {
                return Err(Rejection::SelfParent);
            }
            previous = Some(block.sequence);
        }
        let mut at = None;
        if let Some(parent) = parent {
            at = Some(*cache.named.get(&parent).ok_or(Rejection::UnknownParent)?);
        }
        let first = at.map_or(0, |place| place.position as usize + 1);
        if first + blocks.len() > self.max_positions as usize {
            return Err(Rejection::TooDeep);
        }
        for block in blocks {
            let next = Place { id: self.places.len(), position: at.map_or(0, |place| place.position + 1) };
            let place = *self.places.entry((at, block.local)).or_insert(next);
            cache.store(block.sequence, place);
            at = Some(place);
        }
        Ok(())
    }

    /// Returns how many leading blocks of the prompt with these local hashes each worker holds, sorted by worker and
    /// without the workers that hold none.
    pub fn find(&self, hashes: &[u64]) -> Vec<(Worker, u32)> {
        let mut path = Vec::new();
        let mut at = None;
        for &local in hashes {
            let Some(&place) = self.places.get(&(at, local)) else { break };
            path.push(place);
            at = Some(place);
        }
        let depth = |cache: &Cache| path.iter().take_while(|place| cache.names.contains_key(place)).count() as u32;
        self.workers.iter().map(|(&worker, cache)| (worker, depth(cache))).filter(|&(_, depth)| depth > 0).collect()
    }

    /// Returns how many sequence hashes `worker` holds; 0 if it is unknown.
    pub fn held(&self, worker: Worker) -> usize {
        self.workers.get(&worker).map_or(0, |cache| cache.named.len())
    }

    /// Returns how many different blocks are held, whoever holds them.
    pub fn distinct(&self) -> u64 {
        let places: HashSet<Place> = self.workers.values().flat_map(|cache| cache.names.keys().copied()).collect();
        places.len() as u64
    }

    /// Returns how many copies `worker` has of its blocks, beyond one each; `None` if copies are not counted.
    pub fn extra_copies(&self, worker: Worker) -> Option<u64> {
        let copies = self.workers.get(&worker)?.copies.as_ref()?;
        Some(copies.values().map(|copies| copies - 1).sum())
    }

    /// Returns how many blocks of `worker` are left out and may be in its cache: the blocks of rejected stores, until they
    /// are stored again or removed; [`MAX_LEFT_OUT`] + 1 if there were more.
    pub fn left_out(&self, worker: Worker) -> u64 {
        self.workers.get(&worker).map_or(0, Cache::left_out)
    }

    /// Returns the workers that may hold more than [`find`](Self::find) says, because blocks were left out; sorted.
    pub fn incomplete(&self) -> Vec<Worker> {
        self.workers.iter().filter(|(_, cache)| cache.left_out() > 0).map(|(&worker, _)| worker).collect()
    }

    /// Forgets which blocks were left out, as an export does.
    pub fn forget_left_out(&mut self) {
        for cache in self.workers.values_mut() {
            cache.left_out.clear();
            cache.too_many_left_out = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Worker = Worker::new(1, 0);
    const B: Worker = Worker::new(1, 1);

    fn apply(model: &mut Reference, worker: Worker, data: EventData) -> Result<(), Rejection> {
        model.apply(&Event { worker, id: 0, data })
    }

    /// Stores `(sequence, local)` pairs.
    fn store(
        model: &mut Reference,
        worker: Worker,
        parent: Option<u64>,
        pairs: &[(u64, u64)],
    ) -> Result<(), Rejection> {
        let blocks = pairs.iter().map(|&(sequence, local)| Block { sequence, local }).collect();
        apply(model, worker, EventData::Stored { parent, blocks })
    }

    fn remove(model: &mut Reference, worker: Worker, sequences: &[u64]) -> Result<(), Rejection> {
        apply(model, worker, EventData::Removed { blocks: sequences.to_vec() })
    }

    /// A model in which A holds the locals 7, 8, 9 under the sequence hashes 1, 2, 3.
    fn chain() -> Reference {
        let mut model = Reference::new();
        store(&mut model, A, None, &[(1, 7), (2, 8), (3, 9)]).unwrap();
        model
    }

    #[test]
    fn depth_counts_leading_blocks_only() {
        let model = chain();
        assert_eq!(model.find(&[7, 8, 9]), [(A, 3)]);
        assert_eq!(model.find(&[7, 8, 9, 10]), [(A, 3)]);
        assert_eq!(model.find(&[7, 8]), [(A, 2)]);
        assert_eq!(model.find(&[7, 9]), [(A, 1)], "9 is held, but under another prefix");
        assert_eq!(model.find(&[8, 9]), [], "8 and 9 are held, but not at the root");
        assert_eq!(model.find(&[]), []);
    }

    #[test]
    fn a_block_continues_its_parent() {
        let mut model = chain();
        store(&mut model, A, Some(2), &[(4, 5)]).unwrap();
        assert_eq!(model.find(&[7, 8, 5]), [(A, 3)]);
        assert_eq!(model.find(&[7, 8, 9]), [(A, 3)], "the sibling stays");
        assert_eq!(model.held(A), 4);
    }

    #[test]
    fn equal_locals_at_every_position_are_different_blocks() {
        let mut model = Reference::new();
        store(&mut model, A, None, &[(1, 0), (2, 0), (3, 0)]).unwrap();
        assert_eq!(model.find(&[0, 0, 0, 0]), [(A, 3)]);
        remove(&mut model, A, &[2]).unwrap();
        assert_eq!(model.find(&[0, 0, 0, 0]), [(A, 1)]);
    }

    #[test]
    fn workers_name_the_same_content_as_they_like() {
        let mut model = chain();
        store(&mut model, B, None, &[(3, 7), (1, 8)]).unwrap();
        assert_eq!(model.find(&[7, 8, 9]), [(A, 3), (B, 2)]);
        remove(&mut model, B, &[3]).unwrap();
        assert_eq!(model.find(&[7, 8, 9]), [(A, 3)], "B's hash 3 named the first block, A's the third");
    }

    #[test]
    fn a_hole_ends_the_match_and_a_later_store_heals_it() {
        let mut model = chain();
        remove(&mut model, A, &[2]).unwrap();
        assert_eq!(model.find(&[7, 8, 9]), [(A, 1)]);
        store(&mut model, A, Some(1), &[(20, 8)]).unwrap();
        assert_eq!(model.find(&[7, 8, 9]), [(A, 3)]);
    }

    #[test]
    fn blocks_may_be_stored_below_a_hole() {
        let mut model = chain();
        remove(&mut model, A, &[1]).unwrap();
        store(&mut model, A, Some(3), &[(4, 10)]).unwrap();
        assert_eq!(model.find(&[7, 8, 9, 10]), []);
        store(&mut model, A, None, &[(1, 7)]).unwrap();
        assert_eq!(model.find(&[7, 8, 9, 10]), [(A, 4)]);
    }

    #[test]
    fn the_same_store_twice_is_one() {
        let mut model = chain();
        store(&mut model, A, None, &[(1, 7), (2, 8), (3, 9)]).unwrap();
        assert_eq!(model.held(A), 3);
        remove(&mut model, A, &[3]).unwrap();
        assert_eq!(model.find(&[7, 8, 9]), [(A, 2)]);
    }

    #[test]
    fn a_sequence_hash_stored_elsewhere_moves() {
        let mut model = chain();
        store(&mut model, A, None, &[(3, 9)]).unwrap();
        assert_eq!(model.find(&[7, 8, 9]), [(A, 2)]);
        assert_eq!(model.find(&[9]), [(A, 1)]);
        assert_eq!(model.held(A), 3);
    }

    #[test]
    fn twins_hold_a_block_until_the_last_goes() {
        let mut model = chain();
        store(&mut model, A, Some(2), &[(30, 9)]).unwrap();
        assert_eq!(model.held(A), 4);
        remove(&mut model, A, &[3]).unwrap();
        assert_eq!(model.find(&[7, 8, 9]), [(A, 3)]);
        remove(&mut model, A, &[30]).unwrap();
        assert_eq!(model.find(&[7, 8, 9]), [(A, 2)]);
    }

    #[test]
    fn where_copies_are_counted_a_block_goes_with_its_last() {
        let mut model = chain();
        apply(&mut model, A, EventData::CopiesCounted).unwrap();
        assert_eq!(model.extra_copies(A), Some(0), "what is there is one copy each");
        store(&mut model, A, Some(1), &[(2, 8), (3, 9)]).unwrap();
        store(&mut model, A, Some(2), &[(3, 9)]).unwrap();
        assert_eq!((model.held(A), model.extra_copies(A)), (3, Some(3)));
        remove(&mut model, A, &[3, 2, 3]).unwrap();
        assert_eq!(model.find(&[7, 8, 9]), [(A, 3)]);
        apply(&mut model, A, EventData::CopiesCounted).unwrap();
        remove(&mut model, A, &[3]).unwrap();
        assert_eq!(model.find(&[7, 8, 9]), [(A, 2)]);
        remove(&mut model, A, &[2]).unwrap();
        assert_eq!((model.find(&[7, 8, 9]), model.extra_copies(A)), (vec![(A, 1)], Some(0)));
        assert_eq!(model.extra_copies(B), None);
    }

    #[test]
    fn a_block_that_moves_is_one_copy() {
        let mut model = Reference::new();
        apply(&mut model, A, EventData::CopiesCounted).unwrap();
        for _ in 0..3 {
            store(&mut model, A, None, &[(1, 7), (2, 8)]).unwrap();
        }
        // Once more at the root, and then behind 2: the hash names one place at a time.
        store(&mut model, A, None, &[(1, 7), (2, 8), (1, 9)]).unwrap();
        assert_eq!((model.find(&[7, 8, 9]), model.extra_copies(A)), (vec![], Some(3)));
        remove(&mut model, A, &[1]).unwrap();
        assert_eq!(model.held(A), 1);
    }

    #[test]
    fn clearing_ends_copies_and_removing_the_worker_ends_counting() {
        let mut model = chain();
        apply(&mut model, A, EventData::CopiesCounted).unwrap();
        store(&mut model, A, None, &[(1, 7)]).unwrap();
        apply(&mut model, A, EventData::Cleared).unwrap();
        assert_eq!(model.extra_copies(A), Some(0));
        store(&mut model, A, None, &[(1, 7)]).unwrap();
        store(&mut model, A, None, &[(1, 7)]).unwrap();
        assert_eq!(model.extra_copies(A), Some(1));
        apply(&mut model, A, EventData::WorkerRemoved).unwrap();
        assert_eq!(apply(&mut model, A, EventData::CopiesCounted), Err(Rejection::WorkerRemoved));
        apply(&mut model, A, EventData::WorkerAdded).unwrap();
        store(&mut model, A, None, &[(1, 7)]).unwrap();
        store(&mut model, A, None, &[(1, 7)]).unwrap();
        assert_eq!(model.extra_copies(A), None);
        remove(&mut model, A, &[1]).unwrap();
        assert_eq!(model.held(A), 0);
    }

    #[test]
    fn what_was_left_out_is_until_it_is_stored_or_removed() {
        let mut model = chain().max_positions(4);
        store(&mut model, A, Some(99), &[(4, 5), (5, 6)]).unwrap_err();
        store(&mut model, A, Some(3), &[(6, 5), (7, 6)]).unwrap_err();
        store(&mut model, A, Some(3), &[(8, 5), (8, 6)]).unwrap_err();
        store(&mut model, A, Some(3), &[]).unwrap_err();
        assert_eq!((model.left_out(A), model.incomplete()), (5, vec![A]), "4 to 8");
        store(&mut model, A, Some(3), &[(6, 5)]).unwrap();
        remove(&mut model, A, &[7, 8, 4]).unwrap();
        assert_eq!(model.left_out(A), 1);
        remove(&mut model, A, &[5]).unwrap();
        assert_eq!((model.left_out(A), model.incomplete()), (0, vec![]));
        store(&mut model, A, Some(99), &[(4, 5)]).unwrap_err();
        apply(&mut model, A, EventData::Cleared).unwrap();
        assert_eq!(model.incomplete(), []);
    }

    #[test]
    fn a_copy_that_is_held_goes_before_one_that_was_left_out() {
        let mut model = chain();
        apply(&mut model, A, EventData::CopiesCounted).unwrap();
        store(&mut model, A, Some(99), &[(3, 9)]).unwrap_err();
        store(&mut model, A, Some(99), &[(3, 9)]).unwrap_err();
        assert_eq!(model.left_out(A), 1, "a block");
        store(&mut model, A, Some(2), &[(3, 9)]).unwrap();
        remove(&mut model, A, &[3]).unwrap();
        assert_eq!((model.find(&[7, 8, 9]), model.left_out(A)), (vec![(A, 3)], 1));
        remove(&mut model, A, &[3]).unwrap();
        assert_eq!((model.find(&[7, 8, 9]), model.left_out(A)), (vec![(A, 2)], 1));
        remove(&mut model, A, &[3, 3]).unwrap();
        assert_eq!(model.left_out(A), 0);
    }

    #[test]
    fn a_block_may_take_the_name_of_its_ancestor() {
        let mut model = chain();
        store(&mut model, A, Some(1), &[(4, 5), (1, 6)]).unwrap();
        assert_eq!(model.find(&[7, 5, 6]), [], "the root's name moved below it");
        store(&mut model, A, None, &[(40, 7)]).unwrap();
        assert_eq!(model.find(&[7, 5, 6]), [(A, 3)]);
    }

    #[test]
    fn unknown_removals_are_ignored() {
        let mut model = chain();
        assert_eq!(remove(&mut model, A, &[99, 3]), Ok(()));
        assert_eq!(model.find(&[7, 8, 9]), [(A, 2)]);
    }

    #[test]
    fn cleared_forgets_the_blocks_not_the_worker() {
        let mut model = chain().max_workers(1);
        apply(&mut model, A, EventData::Cleared).unwrap();
        assert_eq!((model.find(&[7]), model.held(A)), (vec![], 0));
        assert_eq!(store(&mut model, A, Some(1), &[(4, 5)]), Err(Rejection::UnknownParent));
        assert_eq!(store(&mut model, B, None, &[(1, 7)]), Err(Rejection::TooManyWorkers));
    }

    #[test]
    fn events_without_blocks_are_rejected() {
        let mut model = chain();
        assert_eq!(store(&mut model, A, Some(99), &[]), Err(Rejection::Empty));
        assert_eq!(remove(&mut model, A, &[]), Err(Rejection::Empty));
    }

    #[test]
    fn a_rejected_store_changes_nothing() {
        let mut model = chain().max_positions(4);
        assert_eq!(store(&mut model, A, Some(99), &[(4, 5)]), Err(Rejection::UnknownParent));
        assert_eq!(store(&mut model, A, Some(3), &[(3, 5)]), Err(Rejection::SelfParent), "its parent's name");
        assert_eq!(store(&mut model, A, None, &[(4, 5), (4, 6)]), Err(Rejection::SelfParent), "its predecessor's");
        assert_eq!(store(&mut model, A, Some(3), &[(4, 5), (5, 6)]), Err(Rejection::TooDeep), "position 4");
        assert_eq!(model.held(A), 3);
        assert_eq!(model.find(&[5]), []);
        assert_eq!(store(&mut model, A, Some(3), &[(4, 5)]), Ok(()), "position 3 is the last");
    }

    #[test]
    fn the_first_reason_counts() {
        let mut model = chain().max_positions(0).max_workers(1);
        assert_eq!(store(&mut model, B, None, &[]), Err(Rejection::TooManyWorkers));
        assert_eq!(store(&mut model, A, Some(99), &[(99, 5)]), Err(Rejection::SelfParent));
        assert_eq!(store(&mut model, A, Some(99), &[(4, 5)]), Err(Rejection::UnknownParent));
        assert_eq!(store(&mut model, A, None, &[(4, 5)]), Err(Rejection::TooDeep));
        apply(&mut model, B, EventData::WorkerRemoved).unwrap();
        assert_eq!(store(&mut model, B, None, &[]), Err(Rejection::WorkerRemoved));
    }

    #[test]
    fn a_store_rejected_for_its_blocks_makes_the_worker_known() {
        let rejected: [&[(u64, u64)]; 4] = [&[], &[(9, 9)], &[(1, 7)], &[(1, 7), (2, 8)]];
        for (blocks, parent) in rejected.into_iter().zip([None, Some(9), Some(8), None]) {
            let mut model = Reference::new().max_workers(1).max_positions(1);
            store(&mut model, A, parent, blocks).unwrap_err();
            assert_eq!(store(&mut model, B, None, &[(1, 7)]), Err(Rejection::TooManyWorkers), "{blocks:?}");
        }
    }

    #[test]
    fn too_many_workers_does_not_make_the_worker_known() {
        let mut model = chain().max_workers(1);
        for data in [
            EventData::Cleared,
            EventData::WorkerAdded,
            EventData::CopiesCounted,
            EventData::Removed { blocks: vec![1] },
        ] {
            assert_eq!(apply(&mut model, B, data), Err(Rejection::TooManyWorkers));
        }
        apply(&mut model, A, EventData::WorkerRemoved).unwrap();
        assert_eq!(store(&mut model, B, None, &[(1, 7)]), Ok(()), "there is room for one again");
    }

    #[test]
    fn a_removed_worker_is_rejected_until_added() {
        let mut model = chain();
        apply(&mut model, A, EventData::WorkerRemoved).unwrap();
        assert_eq!((model.find(&[7]), model.held(A)), (vec![], 0));
        assert_eq!(store(&mut model, A, None, &[(1, 7)]), Err(Rejection::WorkerRemoved));
        assert_eq!(remove(&mut model, A, &[1]), Err(Rejection::WorkerRemoved));
        assert_eq!(apply(&mut model, A, EventData::Cleared), Err(Rejection::WorkerRemoved));
        assert_eq!(apply(&mut model, A, EventData::WorkerRemoved), Ok(()));
        apply(&mut model, A, EventData::WorkerAdded).unwrap();
        assert_eq!(model.held(A), 0);
        assert_eq!(store(&mut model, A, None, &[(1, 7)]), Ok(()));
    }

    #[test]
    fn removing_an_unknown_worker_is_remembered() {
        let mut model = Reference::new();
        assert_eq!(apply(&mut model, A, EventData::WorkerRemoved), Ok(()));
        assert_eq!(store(&mut model, A, None, &[(1, 7)]), Err(Rejection::WorkerRemoved));
    }

    #[test]
    fn adding_a_known_worker_changes_nothing() {
        let mut model = chain();
        apply(&mut model, A, EventData::WorkerAdded).unwrap();
        assert_eq!(model.find(&[7, 8, 9]), [(A, 3)]);
    }

    #[test]
    fn adding_beyond_the_limit_leaves_the_worker_removed() {
        let mut model = chain().max_workers(1);
        apply(&mut model, B, EventData::WorkerRemoved).unwrap();
        assert_eq!(apply(&mut model, B, EventData::WorkerAdded), Err(Rejection::TooManyWorkers));
        assert_eq!(store(&mut model, B, None, &[(1, 7)]), Err(Rejection::WorkerRemoved));
    }
}
