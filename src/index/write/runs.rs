//! All runs of a shard: where a chain of blocks goes, and what is freed when nobody needs it any more.
//!
//! Invariants:
//! - A run is append-only. Where a sequence diverges from it, the rest becomes a new run: a *child*, which hangs off
//!   the last block that they share. Where one worker holds less than another, only a cutoff differs. So runs are not
//!   split, with one exception: a tail that came block by block may become the child (`tail.rs`), and the run goes on
//!   with the sequence that diverges.
//! - A slot that a snapshot may read is never written again. A run that loses its end gets an array of its own.
//! - Every prefix is in exactly one place, and so is the prefix that is one block shorter: a run outlives its children,
//!   even when nobody holds it any more.
//! - No two runs begin with equal prefix hashes. If two prefixes collide, the second one gets no run, and its store is
//!   rejected.

use super::log::Log;
use super::run::{Place, Run, RunId};
use crate::event::Block;
use crate::index::shared::holders::{Holders, Slot};
use crate::index::shared::positions::PositionArray;
use crate::index::shared::prefetch::prefetch;
use crate::index::shared::prefix::PrefixHasher;
use crate::index::shared::table::{Entry, SplitTable};

/// All runs of a shard, found by the prefix hash of their first block.
#[derive(Debug)]
pub(crate) struct Runs {
    hasher: PrefixHasher,
    /// By id. They are allocated in pieces, so growing moves nothing.
    pieces: Vec<Box<[Option<Run>]>>,
    vacant: Vec<RunId>,
    heads: SplitTable<RunEntry>,
    /// The runs that changed, came or went since the changes were last taken.
    changes: Vec<Change>,
    /// Runs in which an event released something; [`Runs::reclaim`] looks at them.
    loose: Vec<RunId>,
    /// Blocks in all arrays.
    blocks: u64,
    /// The sum of the reaches of all runs.
    reached: u64,
    /// Heap bytes behind the runs.
    bytes: usize,
}

/// A run that changed, came or went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    /// The prefix hash of its first block.
    pub(crate) prefix: u64,
    /// Its id, which another run may have by now if it went.
    run: RunId,
}

/// An entry of the heads table: the prefix hash of a run's first block, and the run.
#[derive(Clone, Copy, Debug)]
struct RunEntry {
    key: u64,
    run: RunId,
}

impl Entry for RunEntry {
    const LOAD: usize = 75;
    const TAGGED: bool = false;

    fn vacant() -> Self {
        Self { key: 0, run: RunId::MAX }
    }

    #[inline]
    fn key(&self) -> Option<u64> {
        (self.run != RunId::MAX).then_some(self.key)
    }
}

/// Runs in a piece.
const PIECE: usize = 256;

impl Runs {
    pub(crate) fn new(hasher: PrefixHasher) -> Self {
        Self {
            hasher,
            pieces: Vec::new(),
            vacant: Vec::new(),
            heads: SplitTable::new(),
            changes: Vec::new(),
            loose: Vec::new(),
            blocks: 0,
            reached: 0,
            bytes: 0,
        }
    }

    #[inline]
    pub(crate) fn hasher(&self) -> &PrefixHasher {
        &self.hasher
    }

    #[inline]
    pub(crate) fn get(&self, run: RunId) -> &Run {
        self.pieces[run as usize / PIECE][run as usize % PIECE].as_ref().expect("a place names a living run")
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, run: RunId) -> &mut Run {
        self.pieces[run as usize / PIECE][run as usize % PIECE].as_mut().expect("a place names a living run")
    }

    /// The run of a change, unless it went.
    pub(crate) fn run_of(&self, Change { prefix, run }: Change) -> Option<&Run> {
        let slot = &self.pieces[run as usize / PIECE][run as usize % PIECE];
        slot.as_ref().filter(|run| run.prefixes.first == prefix)
    }

    /// Fetches what [`Runs::run_of`] will need.
    #[inline]
    pub(crate) fn prefetch(&self, Change { run, .. }: Change) {
        prefetch(&self.pieces[run as usize / PIECE][run as usize % PIECE]);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Run> {
        self.heads.iter().map(|head| self.get(head.run))
    }

    /// How many runs there are.
    pub(crate) fn len(&self) -> usize {
        self.heads.len()
    }

    /// How many blocks there are in all arrays.
    pub(crate) fn blocks(&self) -> u64 {
        self.blocks
    }

    /// How many of these blocks somebody holds together with those before them in their run.
    pub(crate) fn reached(&self) -> u64 {
        self.reached
    }

    /// How many bytes it has on the heap, with the keys of the hash, which shards share. Detached ranges are rare and
    /// short-lived, and are not counted.
    pub(crate) fn bytes(&self) -> usize {
        self.pieces.len() * PIECE * size_of::<Option<Run>>()
            + (self.vacant.capacity() * size_of::<RunId>())
            + self.heads.bytes()
            + self.hasher.bytes()
            + self.changes.capacity() * size_of::<Change>()
            + self.bytes
    }

    /// Finds or makes places for the beginning of a chain of blocks, as much of it as one run has or takes. The chain
    /// has these prefix hashes, continues `parent`, and begins at `position`. Returns the place of its first block, and
    /// how many blocks have places now: at least one. The caller calls again for the rest.
    ///
    /// Returns `None` on a collision: the first block needs a run of its own, but a run of another prefix begins with
    /// its prefix hash.
    ///
    /// If the first block is stored, it is either behind `parent` in the same run, or first in a child of `parent`. So
    /// at most one look at the heads settles whether it is new, and only where children hang off `parent`. For the same
    /// reason, a collision cannot mix two prefixes up: each step of the hash is invertible, so two blocks behind one
    /// parent that have equal prefix hashes are equal.
    pub(crate) fn place(&mut self, parent: Option<Place>, position: u32, prefixes: &[u64]) -> Option<(Place, usize)> {
        let head = match parent {
            Some(Place { run, offset }) => {
                let next = Place { run, offset: offset + 1 };
                let at = self.get(run);
                if next.offset < at.len && at.prefixes.get(next.offset) == prefixes[0] {
                    return Some((next, self.follow(next, prefixes)));
                }
                let child = if at.branches_at(offset) { self.child(parent, prefixes[0]) } else { None };
                if child.is_none() && next.offset == at.len {
                    self.append(run, prefixes);
                    return Some((next, prefixes.len()));
                }
                child
            }
            None => self.child(None, prefixes[0]),
        };
        let run = head.or_else(|| self.create(parent, position, prefixes[0]))?;
        let first = Place { run, offset: 0 };
        Some((first, self.follow(first, prefixes)))
    }

    /// The child of `parent` that begins with this prefix hash.
    fn child(&self, parent: Option<Place>, prefix: u64) -> Option<RunId> {
        self.heads.get(prefix).map(|head| head.run).filter(|&run| self.get(run).parent == parent)
    }

    /// How many of these blocks have places in the run from `first` on, where the first of them is. Appends the rest if
    /// the run ends there and nothing else hangs off its end.
    fn follow(&mut self, first: Place, prefixes: &[u64]) -> usize {
        let at = self.get(first.run);
        let more = prefixes[1..].iter().zip(first.offset + 1..at.len);
        let known = 1 + more.take_while(|&(&prefix, offset)| at.prefixes.get(offset) == prefix).count();
        let last = first.offset + known as u32 - 1;
        if known < prefixes.len() && last + 1 == at.len && !at.branches_at(last) {
            self.append(first.run, &prefixes[known..]);
            return prefixes.len();
        }
        known
    }

    fn append(&mut self, run: RunId, prefixes: &[u64]) {
        let run = self.pieces[run as usize / PIECE][run as usize % PIECE].as_mut().expect("a place names a living run");
        let len = run.len as usize;
        let needed = len + prefixes.len();
        if needed > run.prefixes.capacity() {
            // A prompt comes in one event and gets exactly what it needs. Decoded blocks follow one at a time, and get
            // some capacity ahead.
            let capacity = if prefixes.len() > 1 || len == 1 { needed } else { needed + len / 4 };
            let grown = run.prefixes.resized(run.len, capacity);
            self.bytes = self.bytes + grown.bytes() - run.prefixes.bytes();
            run.prefixes = grown;
        }
        run.prefixes.append(run.len, prefixes);
        run.len += prefixes.len() as u32;
        if prefixes.len() > 1 {
            self.bytes -= run.log.bytes();
            (run.whole, run.log) = (run.len, Log::default());
        }
        self.blocks += prefixes.len() as u64;
    }

    /// Makes a run of one block, unless another run begins with its prefix hash.
    fn create(&mut self, parent: Option<Place>, position: u32, prefix: u64) -> Option<RunId> {
        let run = self.vacant.pop().unwrap_or_else(|| {
            let first = (self.pieces.len() * PIECE) as RunId;
            self.pieces.push((0..PIECE).map(|_| None).collect());
            self.vacant.extend((first + 1..first + PIECE as RunId).rev());
            first
        });
        if let Some(taken) = self.heads.insert(RunEntry { key: prefix, run }) {
            self.heads.insert(taken);
            self.vacant.push(run);
            return None;
        }
        let slot = &mut self.pieces[run as usize / PIECE][run as usize % PIECE];
        debug_assert!(slot.is_none(), "a vacant id");
        *slot = Some(Run {
            prefixes: PositionArray::of(prefix),
            start: position,
            len: 1,
            whole: 1,
            log: Log::default(),
            parent,
            holders: Holders::NOBODY,
            branches: Vec::new(),
            detached: None,
            changed: true,
        });
        self.changes.push(Change { prefix, run });
        self.blocks += 1;
        if let Some(Place { run, offset }) = parent {
            let at = self.get_mut(run);
            match at.branches.binary_search_by_key(&offset, |b| b.0) {
                Ok(i) => at.branches[i].1 += 1,
                Err(i) => {
                    let before = at.bytes();
                    at.branches.reserve_exact(1);
                    at.branches.insert(i, (offset, 1));
                    let after = at.bytes();
                    self.bytes = self.bytes + after - before;
                    self.change(run);
                }
            }
        }
        Some(run)
    }

    /// Puts the run on the list of changes.
    fn change(&mut self, run: RunId) {
        let at = self.get_mut(run);
        if !at.changed {
            at.changed = true;
            let prefix = at.prefixes.first;
            self.changes.push(Change { prefix, run });
        }
    }

    /// Sets a worker's cutoff in a run.
    pub(crate) fn set_cutoff(&mut self, run: RunId, slot: Slot, cutoff: u32) {
        let at = self.get_mut(run);
        let (before, reach_before) = (at.holders.bytes(), at.holders.reach());
        at.holders.set(slot, cutoff);
        let (after, reach) = (at.holders.bytes(), at.holders.reach());
        self.bytes = self.bytes + after - before;
        self.reached = self.reached + u64::from(reach) - u64::from(reach_before);
        self.change(run);
    }

    /// Has [`Runs::reclaim`] look at this run, because an event released something in it.
    pub(crate) fn loosen(&mut self, run: RunId) {
        self.loose.push(run);
    }

    /// Frees what nobody needs any more. An event calls this last: before, a run without a holder may be the very one
    /// in which the event is about to store blocks.
    pub(crate) fn reclaim(&mut self) {
        while let Some(run) = self.loose.pop() {
            self.reclaim_from(run);
        }
    }

    /// Frees the run or its dead tail, and then its ancestors likewise.
    fn reclaim_from(&mut self, mut run: RunId) {
        // A run on the list may be gone already, freed together with the last of its children.
        while let Some(at) = &self.pieces[run as usize / PIECE][run as usize % PIECE] {
            let needed = at.needed();
            if needed > 0 {
                // Trimming copies what is kept, so it has to pay: the tail must be longer than the rest, and than 16.
                if (at.len - needed) as usize > (needed as usize).max(16) {
                    self.trim(run, needed, needed as usize);
                }
                return;
            }
            let freed = self.pieces[run as usize / PIECE][run as usize % PIECE].take().expect("reclaimed once");
            self.heads.remove(freed.prefixes.first);
            // Otherwise it is on the list already.
            if !freed.changed {
                self.changes.push(Change { prefix: freed.prefixes.first, run });
            }
            self.blocks -= u64::from(freed.len);
            self.bytes -= freed.bytes();
            self.vacant.push(run);
            let Some(Place { run: parent, offset }) = freed.parent else { return };
            let at = self.get_mut(parent);
            let branch = at.branches.binary_search_by_key(&offset, |b| b.0).expect("a child is counted at its parent");
            at.branches[branch].1 -= 1;
            if at.branches[branch].1 == 0 {
                at.branches.remove(branch);
                self.change(parent);
            }
            run = parent;
        }
    }

    /// Gives the run an array of its own, with its first `len` blocks and this capacity.
    pub(super) fn trim(&mut self, run: RunId, len: u32, capacity: usize) {
        let at = self.get_mut(run);
        let trimmed = at.prefixes.resized(len, capacity);
        let (before, after) = (at.prefixes.bytes(), trimmed.bytes());
        let cut = at.len - len;
        (at.prefixes, at.len, at.whole) = (trimmed, len, at.whole.min(len));
        at.log.truncate(len);
        self.bytes = self.bytes + after - before;
        self.blocks -= u64::from(cut);
        self.change(run);
    }

    /// Makes a child of `parent` with the blocks behind it in the same run, as far as somebody holds them. They stay in
    /// the run, too, so the caller has to [trim](Self::trim) it. Returns `None` on a collision.
    pub(super) fn branch_off(&mut self, parent: Place) -> Option<RunId> {
        let at = self.get(parent.run);
        let first = parent.offset + 1;
        let position = at.start + first;
        let prefixes: Vec<u64> = (first..at.holders.reach()).map(|offset| at.prefixes.get(offset)).collect();
        let child = self.create(Some(parent), position, prefixes[0])?;
        self.append(child, &prefixes[1..]);
        Some(child)
    }

    /// Logs under which sequence hashes a worker stored these blocks, the first of which is at `first`, unless they are
    /// never moved.
    #[inline]
    pub(super) fn note(&mut self, slot: Slot, first: Place, blocks: &[Block]) {
        let at = self.get(first.run);
        if first.offset + blocks.len() as u32 > at.whole {
            let known = at.whole.saturating_sub(first.offset);
            self.log(slot, Place { offset: first.offset + known, ..first }, &blocks[known as usize..]);
        }
    }

    #[inline(never)]
    fn log(&mut self, slot: Slot, first: Place, blocks: &[Block]) {
        let at = self.get_mut(first.run);
        let before = at.log.bytes();
        if !at.log.note(slot, first.offset, blocks) {
            (at.whole, at.log) = (at.len, Log::default());
        }
        let after = at.log.bytes();
        self.bytes = self.bytes + after - before;
    }

    /// Takes the runs that changed, came or went since the last call. A run that went and came again is there twice.
    pub(crate) fn take_changes(&mut self, into: &mut Vec<Change>) {
        into.clear();
        std::mem::swap(into, &mut self.changes);
        for &Change { run, .. } in &*into {
            if let Some(run) = &mut self.pieces[run as usize / PIECE][run as usize % PIECE] {
                run.changed = false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use proptest::prelude::*;

    use super::*;
    use crate::event::{Event, EventData, Worker};
    use crate::hash::sequence_hashes;
    use crate::index::write::shard::Shard;

    #[test]
    fn an_array_that_grows_block_by_block_is_at_most_a_quarter_too_large() {
        let mut runs = Runs::new(PrefixHasher::seeded(1));
        let mut last = None;
        for position in 0..1000 {
            let (place, _) = runs.place(last, position, &[u64::from(position)]).expect("no collision");
            let run = runs.get(place.run);
            assert_eq!((run.len, runs.len()), (position + 1, 1));
            assert!(run.prefixes.capacity() as u32 <= run.len + run.len / 4, "{} blocks", run.len);
            last = Some(place);
        }
    }

    /// Counts everything again, and compares: what is counted incrementally, branch points with children, and workers'
    /// maps with cutoffs, detached ranges and twins.
    fn assert_sound(shard: &Shard) {
        let runs = shard.runs();
        let sum = |count: &dyn Fn(&Run) -> u64| runs.iter().map(count).sum::<u64>();
        assert_eq!(runs.blocks, sum(&|run| u64::from(run.len)));
        assert_eq!(runs.reached, sum(&|run| u64::from(run.holders.reach())));
        assert_eq!(runs.bytes as u64, sum(&|run| run.bytes() as u64));
        let mut children = HashMap::<Place, u32>::new();
        let mut prefixes = HashSet::new();
        for run in runs.iter() {
            let before = run.parent.map_or(0, |parent| {
                *children.entry(parent).or_default() += 1;
                let at = runs.get(parent.run);
                assert!(parent.offset < at.len && run.start == at.start + parent.offset + 1);
                at.prefixes.get(parent.offset)
            });
            assert_ne!(before, run.prefixes.first);
            assert!((0..run.len).all(|offset| prefixes.insert(run.prefixes.get(offset))), "a prefix has one place");
            assert!(run.needed() <= run.len && run.whole <= run.len);
        }
        for RunEntry { run, .. } in runs.heads.iter() {
            let counted = &runs.get(*run).branches;
            assert!(counted.is_sorted_by(|a, b| a.0 < b.0));
            for &(offset, count) in counted {
                assert_eq!(children.remove(&Place { run: *run, offset }), Some(count));
            }
        }
        assert!(children.is_empty(), "every child is counted at its parent");
        for (slot, state) in shard.by_slot().iter().enumerate() {
            let mut names = HashMap::<Place, u32>::new();
            state.blocks.iter().for_each(|(_, place)| *names.entry(place).or_default() += 1);
            for RunEntry { run, .. } in runs.heads.iter() {
                let at = runs.get(*run);
                let cutoff = at.holders.cutoff(slot as Slot);
                for offset in (0..at.len).filter(|&offset| at.holds(slot as Slot, cutoff, offset)) {
                    let place = Place { run: *run, offset };
                    let twins = state.twins.get(&place).copied().unwrap_or(0);
                    assert_eq!(names.remove(&place), Some(1 + twins), "{place:?}");
                }
            }
            assert!(names.is_empty(), "what a name leads to is held");
        }
    }

    /// A worker goes back in its conversation by a few blocks, and stores a few others, one by one or at once.
    /// Sometimes it removes what it went back by, or it takes over the conversation of another worker, or what it
    /// stores has other names than usual.
    type Act = ((usize, usize, Vec<u64>), (bool, bool, bool, bool));

    fn play(shard: &mut Shard, acts: &[Act]) {
        let mut paths = [const { Vec::new() }; 3];
        let mut apply = |by: usize, data| {
            // Some are rejected, because the worker does not hold the parent.
            let _ = shard.apply(&Event { worker: Worker::new(by as u64, 0), id: 0, data });
            assert_sound(shard);
        };
        for ((by, back, locals), (one_by_one, removes, joins, renames)) in acts {
            let by = by % paths.len();
            if *joins {
                paths[by] = paths[(by + 1) % paths.len()].clone();
            }
            let path = &mut paths[by];
            let names = |path: &[u64]| sequence_hashes(path.iter().copied()).collect::<Vec<_>>();
            let gone = names(path).split_off(path.len() - back.min(&path.len()));
            path.truncate(path.len() - gone.len());
            if *removes {
                apply(by, EventData::Removed { blocks: gone.into_iter().rev().collect() });
            }
            let first = if *joins { 0 } else { path.len() };
            path.extend(locals);
            let names = names(path);
            let block = |at: usize| Block { sequence: names[at] ^ u64::from(*renames), local: path[at] };
            let step = if *one_by_one { 1 } else { path.len().max(1) };
            for from in (first..path.len()).step_by(step) {
                let parent = from.checked_sub(1).map(|parent| names[parent]);
                let blocks = (from..path.len().min(from + step)).map(block).collect();
                apply(by, EventData::Stored { parent, blocks });
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_counted_is_what_is_there(
            acts in prop::collection::vec(
                (
                    (0..3_usize, 0..5_usize, prop::collection::vec(0..3_u64, 0..5)),
                    (prop::bool::weighted(0.7), prop::bool::weighted(0.3), prop::bool::weighted(0.2),
                        prop::bool::weighted(0.05)),
                ),
                0..60,
            ),
        ) {
            let mut shard = Shard::new(PrefixHasher::seeded(1), 1000, 10);
            play(&mut shard, &acts);
            for worker in 0..3 {
                let _ = shard.apply(&Event { worker: Worker::new(worker, 0), id: 0, data: EventData::Cleared });
            }
            assert_sound(&shard);
            prop_assert_eq!((shard.runs().len(), shard.runs().bytes), (0, 0), "nothing is left behind");
        }
    }
}
