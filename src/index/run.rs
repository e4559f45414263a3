//! Position arrays: chains of stored blocks, each kept as one array of prefix hashes.
//!
//! Invariants:
//! - A run is append-only and never split. Where a sequence diverges the rest becomes a new run, a *child* that hangs
//!   off the last block they share; where one worker holds less than another only a cutoff differs.
//! - Every prefix lives in exactly one place, and so does the one that is a block shorter: a run outlives its children,
//!   even when nobody holds it any more.
//! - No two runs begin with equal prefix hashes. Where two prefixes collide, the one that comes second gets no run: its
//!   store is rejected.
//! - An array slot that a snapshot may read is never written again: a trimmed run gets a new array.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::holders::{Holders, Slot};
use super::prefetch::prefetch;
use super::prefix::PrefixHasher;
use super::table::{Slot as TableSlot, SplitTable};

/// Where a block is: a run, and the offset in it. Laid out to be compared as one word.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(8))]
pub(crate) struct Place {
    pub(crate) offset: u32,
    pub(crate) run: RunId,
}

impl Place {
    #[inline]
    fn word(self) -> u64 {
        u64::from(self.run) << 32 | u64::from(self.offset)
    }
}

impl PartialEq for Place {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.word() == other.word()
    }
}

impl Eq for Place {}

impl std::hash::Hash for Place {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write_u64(self.word());
    }
}

pub(crate) type RunId = u32;

/// The prefix hashes of a run, by offset; shared between the writer, who appends, and the snapshots.
///
/// The slots are written and read with Relaxed operations: a reader looks at offsets below its snapshot's cutoffs
/// only, those were written before the snapshot was published, and the publication orders the two.
#[derive(Clone, Debug)]
pub(crate) struct Prefixes {
    /// Offset 0, kept here: a run of one block has no array.
    pub(crate) first: u64,
    rest: Arc<[AtomicU64]>,
}

impl Prefixes {
    #[inline]
    pub(crate) fn get(&self, offset: u32) -> u64 {
        if offset == 0 { self.first } else { self.rest[offset as usize - 1].load(Relaxed) }
    }

    /// Fetches what [`Prefixes::get`] of an offset will need.
    #[inline]
    pub(crate) fn prefetch(&self, offset: u32) {
        if let Some(slot) = self.rest.get((offset as usize).wrapping_sub(1)) {
            prefetch(slot);
        }
    }

    fn room(&self) -> usize {
        self.rest.len() + 1
    }

    /// A copy of the first `len` with room for `room`, in an array of its own.
    fn resized(&self, len: u32, room: usize) -> Self {
        let kept = self.rest[..len as usize - 1].iter().map(|slot| slot.load(Relaxed));
        let rest = kept.chain(std::iter::repeat(0)).take(room - 1).map(AtomicU64::new).collect();
        Self { first: self.first, rest }
    }

    fn bytes(&self) -> usize {
        if self.rest.is_empty() { 0 } else { 16 + size_of_val(&self.rest[..]) }
    }
}

/// Offsets held beyond a hole, as ascending ranges that do not touch each other.
pub(crate) type Ranges = Vec<std::ops::Range<u32>>;

/// The writer's view of a run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) prefixes: Prefixes,
    /// The position of offset 0.
    pub(crate) start: u32,
    /// Blocks in the array; those beyond every cutoff are held by nobody, or beyond a hole.
    pub(crate) len: u32,
    /// The block before offset 0; `None` at the root.
    pub(crate) parent: Option<Place>,
    pub(crate) holders: Holders,
    /// Offsets at which children hang, ascending, and how many.
    pub(crate) branches: Vec<(u32, u32)>,
    /// What workers hold beyond their cutoff.
    #[allow(clippy::box_collection, reason = "hardly any run has some: a word for all, not three")]
    pub(crate) detached: Option<Box<BTreeMap<Slot, Ranges>>>,
    /// Whether this run is on the list of changes.
    changed: bool,
}

impl Run {
    /// Whether a child hangs off this offset.
    fn branches_at(&self, offset: u32) -> bool {
        self.branches.binary_search_by_key(&offset, |branch| branch.0).is_ok()
    }

    /// How much of the array is needed: held by somebody, or the place of a child.
    fn needed(&self) -> u32 {
        let branch = self.branches.last().map_or(0, |&(offset, _)| offset + 1);
        let detached = self.detached.iter().flat_map(|d| d.values()).filter_map(|r| r.last()).map(|r| r.end).max();
        self.holders.reach().max(branch).max(detached.unwrap_or(0))
    }

    /// The worker, whose cutoff is given, comes to hold `offset`, which it does not hold yet. Returns its new cutoff.
    pub(crate) fn hold(&mut self, slot: Slot, cutoff: u32, offset: u32) -> u32 {
        debug_assert!(!self.holds(slot, cutoff, offset), "held twice");
        if offset == cutoff {
            return self.attach(slot, offset + 1);
        }
        let ranges = self.detached.get_or_insert_default().entry(slot).or_default();
        let at = ranges.partition_point(|r| r.end < offset);
        match ranges.get_mut(at) {
            Some(range) if range.end == offset => {
                range.end += 1;
                let end = range.end;
                if ranges.get(at + 1).is_some_and(|next| next.start == end) {
                    ranges[at].end = ranges.remove(at + 1).end;
                }
            }
            Some(range) if range.start == offset + 1 => range.start = offset,
            _ => ranges.insert(at, offset..offset + 1),
        }
        cutoff
    }

    /// The cutoff rises to `cutoff`, and over what was detached right there.
    #[inline]
    fn attach(&mut self, slot: Slot, cutoff: u32) -> u32 {
        let Some(detached) = &mut self.detached else { return cutoff };
        let Some(ranges) = detached.get_mut(&slot) else { return cutoff };
        let healed = if ranges[0].start == cutoff { ranges.remove(0).end } else { cutoff };
        self.forget_empty(slot);
        healed
    }

    /// The worker, whose cutoff is given, holds `offset` no longer. Returns its new cutoff.
    pub(crate) fn release(&mut self, slot: Slot, cutoff: u32, offset: u32) -> u32 {
        debug_assert!(self.holds(slot, cutoff, offset), "not held");
        if offset + 1 == cutoff {
            return offset;
        }
        let ranges = self.detached.get_or_insert_default().entry(slot).or_default();
        if offset < cutoff {
            ranges.insert(0, offset + 1..cutoff);
            return offset;
        }
        let at = ranges.partition_point(|r| r.end <= offset);
        let range = ranges[at].clone();
        let rest = [range.start..offset, offset + 1..range.end];
        ranges.splice(at..=at, rest.into_iter().filter(|r| !r.is_empty()));
        self.forget_empty(slot);
        cutoff
    }

    pub(crate) fn holds(&self, slot: Slot, cutoff: u32, offset: u32) -> bool {
        offset < cutoff
            || self.detached.iter().filter_map(|d| d.get(&slot)).flatten().any(|range| range.contains(&offset))
    }

    /// The worker holds nothing beyond its cutoff any more.
    pub(crate) fn forget(&mut self, slot: Slot) {
        if let Some(detached) = &mut self.detached {
            detached.remove(&slot);
            if detached.is_empty() {
                self.detached = None;
            }
        }
    }

    fn forget_empty(&mut self, slot: Slot) {
        if self.detached.as_ref().and_then(|d| d.get(&slot)).is_some_and(Vec::is_empty) {
            self.forget(slot);
        }
    }

    fn bytes(&self) -> usize {
        self.prefixes.bytes() + self.holders.bytes() + self.branches.capacity() * size_of::<(u32, u32)>()
    }
}

/// All runs of a shard, found by the prefix hash of their first block.
#[derive(Debug)]
pub(crate) struct Runs {
    hasher: PrefixHasher,
    /// In pieces, so that growing moves nothing.
    pieces: Vec<Box<[Option<Run>]>>,
    vacant: Vec<RunId>,
    heads: SplitTable<Head>,
    /// Keys of the runs that were changed, made or freed since the changes were last taken.
    changes: Vec<u64>,
    loose: Vec<RunId>,
    blocks: u64,
    bytes: usize,
}

/// An entry of the heads table: the prefix hash of a run's first block, and the run.
#[derive(Clone, Copy, Debug)]
struct Head {
    key: u64,
    run: RunId,
}

impl TableSlot for Head {
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

    pub(crate) fn by_key(&self, key: u64) -> Option<&Run> {
        self.heads.get(key).map(|head| self.get(head.run))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Run> {
        self.heads.iter().map(|head| self.get(head.run))
    }

    /// Runs that exist.
    pub(crate) fn len(&self) -> usize {
        self.heads.len()
    }

    /// Blocks in all arrays.
    pub(crate) fn blocks(&self) -> u64 {
        self.blocks
    }

    /// How many bytes it has on the heap, with the keys of the hash, which shards share. Detached ranges are rare and
    /// short-lived, and are not counted.
    pub(crate) fn bytes(&self) -> usize {
        self.pieces.len() * PIECE * size_of::<Option<Run>>()
            + (self.vacant.capacity() * size_of::<RunId>())
            + self.heads.bytes()
            + self.hasher.bytes()
            + self.changes.capacity() * 8
            + self.bytes
    }

    /// Finds, or makes, places for a chain of blocks with these prefix hashes, which continues `parent` and begins at
    /// `position`: as many as one run has or takes. Returns the first one's place and their number, at least 1. It is
    /// `None` on a collision: the first block needs a run of its own, but a run of another prefix begins with its hash.
    ///
    /// One look at the heads settles whether the first block is new, and only where a child hangs off the parent: were
    /// the block there, its parent would be where `parent` is. For the same reason collisions cannot mix prefixes up:
    /// a step of the hash is invertible, so behind one parent, blocks with equal prefix hashes are equal.
    pub(crate) fn lay(&mut self, parent: Option<Place>, position: u32, prefixes: &[u64]) -> Option<(Place, usize)> {
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

    /// The run that hangs off `parent` and begins with this prefix hash.
    fn child(&self, parent: Option<Place>, prefix: u64) -> Option<RunId> {
        self.heads.get(prefix).map(|head| head.run).filter(|&run| self.get(run).parent == parent)
    }

    /// How many of these blocks follow each other in the run from `first` on, where the first one is: those that are
    /// there, and all where the rest can be appended.
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
        if needed > run.prefixes.room() {
            // Exactly what this event brings; what trickles in later, decoded block by block, gets some room.
            let room = if prefixes.len() > 1 || len == 1 { needed } else { needed + len / 4 };
            let grown = run.prefixes.resized(run.len, room);
            self.bytes = self.bytes + grown.bytes() - run.prefixes.bytes();
            run.prefixes = grown;
        }
        for (slot, &prefix) in run.prefixes.rest[len - 1..].iter().zip(prefixes) {
            slot.store(prefix, Relaxed);
        }
        run.len += prefixes.len() as u32;
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
        if let Some(taken) = self.heads.insert(Head { key: prefix, run }) {
            self.heads.insert(taken);
            self.vacant.push(run);
            return None;
        }
        let slot = &mut self.pieces[run as usize / PIECE][run as usize % PIECE];
        debug_assert!(slot.is_none(), "a vacant id");
        *slot = Some(Run {
            prefixes: Prefixes { first: prefix, rest: Arc::default() },
            start: position,
            len: 1,
            parent,
            holders: Holders::NOBODY,
            branches: Vec::new(),
            detached: None,
            changed: true,
        });
        self.changes.push(prefix);
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
        let run = self.get_mut(run);
        if !run.changed {
            run.changed = true;
            let key = run.prefixes.first;
            self.changes.push(key);
        }
    }

    /// Sets a worker's cutoff in a run.
    pub(crate) fn set_cutoff(&mut self, run: RunId, slot: Slot, cutoff: u32) {
        let at = self.get_mut(run);
        let before = at.holders.bytes();
        at.holders.set(slot, cutoff);
        let after = at.holders.bytes();
        self.bytes = self.bytes + after - before;
        self.change(run);
    }

    /// Something in this run was let go of: have [`Runs::reclaim`] look at it.
    pub(crate) fn loosen(&mut self, run: RunId) {
        self.loose.push(run);
    }

    /// Gives back what nobody needs any more. Comes last in an event: before, a run without a holder may be the very
    /// one that the event is about to store to.
    pub(crate) fn reclaim(&mut self) {
        while let Some(run) = self.loose.pop() {
            self.reclaim_from(run);
        }
    }

    /// Frees the run or its dead tail, and then its ancestors likewise.
    fn reclaim_from(&mut self, mut run: RunId) {
        // A run on the list may have been freed with a child of it.
        while let Some(at) = &self.pieces[run as usize / PIECE][run as usize % PIECE] {
            let needed = at.needed();
            if needed > 0 {
                // A tail that outweighs the rest is worth a copy of the rest; a short one is not.
                if (at.len - needed) as usize > (needed as usize).max(16) {
                    let trimmed = at.prefixes.resized(needed, needed as usize);
                    self.bytes = self.bytes + trimmed.bytes() - at.prefixes.bytes();
                    self.blocks -= u64::from(at.len - needed);
                    let at = self.get_mut(run);
                    at.len = needed;
                    at.prefixes = trimmed;
                    self.change(run);
                }
                return;
            }
            let freed = self.pieces[run as usize / PIECE][run as usize % PIECE].take().expect("reclaimed once");
            self.heads.remove(freed.prefixes.first);
            self.changes.push(freed.prefixes.first);
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

    /// Hands over the keys of the runs that were changed, made or freed since the last call; some may be there twice.
    pub(crate) fn take_changes(&mut self, into: &mut Vec<u64>) {
        into.clear();
        std::mem::swap(into, &mut self.changes);
        for &key in &*into {
            if let Some(head) = self.heads.get(key).copied() {
                self.get_mut(head.run).changed = false;
            }
        }
    }
}
