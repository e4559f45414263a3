//! Answers: who holds how much of a query.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::holders::{Chunk, EMPTY, Holders, Slot};
use super::prefix::QueryPrefixes;
use super::slot_set::SlotSet;
use super::snapshot::{Roster, Stamp};
use crate::event::Worker;

/// A reusable answer: workers in layers of equal depth, deepest first.
///
/// Only workers that hold at least the first block are in it. Once an answer has been as large as it gets, filling it
/// again allocates nothing, so keep one per thread.
///
/// ```
/// # use kvleap::*;
/// # let index = Index::builder().build()?;
/// # let data = EventData::Stored { parent: None, blocks: vec![Block { sequence: 1, local: 11 }] };
/// # index.send(Event { worker: Worker::new(7, 0), id: 1, data })?;
/// # index.flush()?;
/// let mut matches = Matches::new();
/// index.find(&[11, 12], &mut matches);
/// let deepest = matches.best().expect("one worker holds the first block");
/// assert_eq!((deepest.depth(), deepest.workers().next()), (1, Some(Worker::new(7, 0))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # One query at a time
/// What is read from an answer borrows it, so it is read before the next query fills it, or copied out:
///
/// ```
/// # let index = kvleap::Index::builder().build()?;
/// # let mut matches = kvleap::Matches::new();
/// index.find(&[11], &mut matches);
/// let best = matches.best().map(|layer| layer.depth());
/// let workers: Vec<_> = matches.iter().collect();
/// index.find(&[12], &mut matches);
/// println!("{best:?} {workers:?}");
/// # Ok::<(), kvleap::ConfigError>(())
/// ```
/// ```compile_fail,E0502
/// # let index = kvleap::Index::builder().build()?;
/// # let mut matches = kvleap::Matches::new();
/// index.find(&[11], &mut matches);
/// let best = matches.best();
/// index.find(&[12], &mut matches); // would change `best` under its owner
/// println!("{best:?}");
/// # Ok::<(), kvleap::ConfigError>(())
/// ```
/// ```compile_fail,E0502
/// # let index = kvleap::Index::builder().build()?;
/// # let mut matches = kvleap::Matches::new();
/// index.find(&[11], &mut matches);
/// let workers = matches.iter();
/// index.find(&[12], &mut matches); // likewise
/// println!("{}", workers.count());
/// # Ok::<(), kvleap::ConfigError>(())
/// ```
#[derive(Debug, Default)]
pub struct Matches {
    prefixes: QueryPrefixes,
    layers: Layers,
    shards: Vec<ShardCopy>,
}

/// What an answer keeps of a shard: names, and what it is as of.
#[derive(Debug)]
struct ShardCopy {
    /// Of the roster that all but the watermark is copied from.
    version: u64,
    names_version: u64,
    /// By slot.
    names: Vec<Worker>,
    /// The slots of the incomplete workers.
    incomplete: Vec<Slot>,
    watermark: Watermark,
}

/// What an answer is as of, for one shard: exactly the shard's first `events` accepted events, no more and no fewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermark {
    /// How many of the shard's accepted events the answer shows; rejected ones count.
    pub events: u64,
    /// The snapshot's running number. It never goes back for a reader.
    pub generation: u64,
    /// When the snapshot was published. A quiet shard's snapshot is old and yet up to date.
    pub published: Instant,
}

/// Workers of equal depth in one shard: a range of chunks.
#[derive(Clone, Copy, Debug)]
struct Part {
    depth: u32,
    shard: u32,
    from: usize,
    to: usize,
}

/// The part of an answer that a search fills in.
#[derive(Debug, Default)]
pub(crate) struct Layers {
    parts: Vec<Part>,
    chunks: Vec<Chunk>,
    shard: u32,
    /// The workers who hold all of the path so far; at its beginning that is everybody.
    active: SlotSet,
    passing: SlotSet,
    began: bool,
}

/// The two halves of an answer that a search needs at the same time.
pub(crate) struct Search<'a> {
    pub(crate) prefixes: &'a mut QueryPrefixes,
    pub(crate) layers: &'a mut Layers,
}

impl Matches {
    /// An empty answer; allocates when first filled.
    pub fn new() -> Self {
        Self::default()
    }

    /// The deepest layer: the workers that hold the most of the query. `None` where nobody holds its first block.
    pub fn best(&self) -> Option<Layer<'_>> {
        self.layers().next()
    }

    /// Layers of equal depth, deepest first.
    pub fn layers(&self) -> impl Iterator<Item = Layer<'_>> {
        self.layers.parts.chunk_by(|a, b| a.depth == b.depth).map(|parts| Layer { parts, matches: self })
    }

    /// Every worker that holds at least the first block, with its depth in blocks; deepest first.
    pub fn iter(&self) -> impl Iterator<Item = (Worker, u32)> {
        self.layers.parts.iter().flat_map(|part| self.workers(part).map(|worker| (worker, part.depth)))
    }

    /// As [`Matches::iter`], with the workers' slots instead of their names: see [`Layer::slots`].
    pub fn slots(&self) -> impl Iterator<Item = (u32, u32)> {
        self.layers.parts.iter().flat_map(|part| self.part_slots(part).map(|slot| (slot, part.depth)))
    }

    /// The worker in a slot that this answer gave; of other slots, `None` or anybody.
    pub fn worker(&self, slot: u32) -> Option<Worker> {
        let shards = self.shards.len() as u32;
        let copy = self.shards.get(slot.checked_rem(shards)? as usize)?;
        copy.names.get((slot / shards) as usize).copied()
    }

    /// The first `k` of [`Matches::iter`].
    pub fn top_k(&self, k: usize) -> impl Iterator<Item = (Worker, u32)> {
        self.iter().take(k)
    }

    /// Like [`Matches::iter`], for the workers that are candidates: healthy, of the right model, not overloaded.
    pub fn among(&self, candidate: impl Fn(Worker) -> bool) -> impl Iterator<Item = (Worker, u32)> {
        self.iter().filter(move |&(worker, _)| candidate(worker))
    }

    /// How many leading blocks of the query the worker holds. Walks the answer: for all workers at once, use
    /// [`Matches::iter`].
    pub fn depth(&self, worker: Worker) -> u32 {
        self.iter().find(|&(w, _)| w == worker).map_or(0, |(_, depth)| depth)
    }

    /// How many workers the answer has. Counts them.
    pub fn len(&self) -> usize {
        self.layers.chunks.iter().map(|chunk| chunk.bits.count_ones() as usize).sum()
    }

    /// Whether nobody holds the first block.
    pub fn is_empty(&self) -> bool {
        self.layers.parts.is_empty()
    }

    /// The workers that may hold more of the query than the answer says, in no particular order, whether they are in the
    /// answer or not: the index rejected a store of theirs and left its blocks out. They hold at least what the answer
    /// says. All other workers hold exactly that, as far as their events tell.
    ///
    /// A worker is in this list from a store that was rejected for its blocks
    /// ([`SelfParent`](crate::Rejection::SelfParent), [`UnknownParent`](crate::Rejection::UnknownParent),
    /// [`TooDeep`](crate::Rejection::TooDeep), [`Collision`](crate::Rejection::Collision)) until it has removed each of
    /// them, or stored it again; or until it is cleared or removed. Of a store that collided, this includes the blocks
    /// before the collision, which are in the index. Where [copies are counted](crate::EventData::CopiesCounted), each
    /// store is one copy, and only as many removals end it.
    ///
    /// [`WorkerStatus::left_out_blocks`](crate::WorkerStatus::left_out_blocks) has the number of blocks. An export does
    /// not say which workers are incomplete: an index that imports it knows only what it left out itself.
    pub fn incomplete(&self) -> impl Iterator<Item = Worker> {
        self.shards.iter().flat_map(|shard| shard.incomplete.iter().map(|&slot| shard.names[slot as usize]))
    }

    /// As [`Matches::incomplete`], with the workers' slots instead of their names: see [`Layer::slots`].
    pub fn incomplete_slots(&self) -> impl Iterator<Item = u32> {
        let shards = self.shards.len() as u32;
        (0..)
            .zip(&self.shards)
            .flat_map(move |(number, shard)| shard.incomplete.iter().map(move |slot| slot * shards + number))
    }

    /// What the answer is as of, by shard.
    pub fn watermarks(&self) -> impl ExactSizeIterator<Item = Watermark> {
        self.shards.iter().map(|shard| shard.watermark)
    }

    /// The time since the oldest of the snapshots it came from was published; zero for an answer never filled. A bound
    /// on staleness only while events keep coming: a quiet shard publishes nothing.
    pub fn age(&self) -> Duration {
        self.watermarks().map(|watermark| watermark.published).min().map_or(Duration::ZERO, |at| at.elapsed())
    }

    /// By shard: a number that changes when workers come or go, unique in the process, and the workers by slot.
    pub(crate) fn rosters(&self) -> impl Iterator<Item = (u64, &[Worker])> {
        self.shards.iter().map(|shard| (shard.names_version, &*shard.names))
    }

    /// Depth, shard, and slots inside that shard, in ranges: what [`Matches::iter`] tells, without a name for each.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (u32, u32, impl Iterator<Item = Range<usize>>)> {
        self.layers.parts.iter().map(|part| (part.depth, part.shard, self.neighbours(part)))
    }

    fn neighbours(&self, part: &Part) -> Neighbours<'_> {
        Neighbours { chunks: self.layers.chunks[part.from..part.to].iter(), rest: Chunk::NONE }
    }

    fn workers(&self, part: &Part) -> impl Iterator<Item = Worker> + use<'_> {
        let names = &self.shards[part.shard as usize].names;
        self.neighbours(part).flat_map(|slots| names[slots].iter().copied())
    }

    fn part_slots(&self, part: &Part) -> impl Iterator<Item = u32> + use<'_> {
        let (shard, shards) = (part.shard, self.shards.len() as u32);
        self.neighbours(part).flat_map(move |slots| slots.map(move |slot| slot as u32 * shards + shard))
    }

    /// A new query over so many shards.
    pub(crate) fn reset(&mut self, shards: usize) {
        self.prefixes.reset();
        self.layers.parts.clear();
        self.layers.chunks.clear();
        self.shards.truncate(shards);
    }

    /// New queries, one for each of the first `count` in `room`, which grows where they are too few.
    pub(crate) fn reset_many(room: &mut Vec<Self>, count: usize, shards: usize) -> &mut [Self] {
        if room.len() < count {
            room.resize_with(count, Self::new);
        }
        let answers = &mut room[..count];
        for matches in &mut *answers {
            matches.reset(shards);
        }
        answers
    }

    /// The search of one shard begins; shards come in order.
    pub(crate) fn begin(&mut self, shard: u32, stamp: &Stamp) -> Search<'_> {
        let watermark = Watermark { events: stamp.watermark, generation: stamp.generation, published: stamp.published };
        let Self { prefixes, layers, shards } = self;
        match shards.get_mut(shard as usize) {
            Some(copy) if copy.version == stamp.roster.version => copy.watermark = watermark,
            Some(copy) => copy.take_over(&stamp.roster, watermark),
            None => shards.push(ShardCopy::new(&stamp.roster, watermark)),
        }
        layers.shard = shard;
        layers.began = false;
        debug_assert!(layers.active.is_empty() && layers.passing.is_empty(), "the search before ended");
        Search { prefixes, layers }
    }

    /// All shards are in.
    pub(crate) fn sort(&mut self) {
        // A handful of parts: one a run on the path.
        self.layers.parts.sort_unstable_by_key(|part| (std::cmp::Reverse(part.depth), part.shard));
    }
}

impl ShardCopy {
    fn new(roster: &Roster, watermark: Watermark) -> Self {
        let Roster { version, names_version, names, incomplete } = roster;
        let (names, incomplete) = (names.to_vec(), incomplete.to_vec());
        Self { version: *version, names_version: *names_version, names, incomplete, watermark }
    }

    #[cold]
    fn take_over(&mut self, roster: &Roster, watermark: Watermark) {
        self.watermark = watermark;
        self.version = roster.version;
        if self.names_version != roster.names_version {
            self.names_version = roster.names_version;
            self.names.clear();
            self.names.extend_from_slice(&roster.names);
        }
        self.incomplete.clear();
        self.incomplete.extend_from_slice(&roster.incomplete);
    }
}

impl Layers {
    /// The path covers the first `covered` blocks of a run that starts at `start`. Workers that hold less of it are
    /// done; the others go on if the path does. Returns whether somebody does.
    pub(crate) fn narrow(&mut self, holders: &Holders, start: u32, covered: u32, goes_on: bool) -> bool {
        let mut room = EMPTY;
        for group in holders.groups(&mut room).chunk_by(|a, b| a.cutoff == b.cutoff) {
            let cutoff = group[0].cutoff;
            let from = self.chunks.len();
            for chunk in group.iter().map(|g| g.chunk) {
                let bits = if self.began { self.active.take(chunk) } else { chunk.bits };
                if bits == 0 {
                    continue;
                }
                let chunk = Chunk { bits, ..chunk };
                if goes_on && cutoff >= covered { self.passing.add(chunk) } else { self.chunks.push(chunk) }
            }
            self.part(start + cutoff.min(covered), from);
        }
        self.finish(start);
        self.began = true;
        std::mem::swap(&mut self.active, &mut self.passing);
        !self.active.is_empty()
    }

    /// Whoever is left got as far as `depth`.
    pub(crate) fn finish(&mut self, depth: u32) {
        let from = self.chunks.len();
        self.chunks.extend(self.active.drain());
        self.part(depth, from);
    }

    fn part(&mut self, depth: u32, from: usize) {
        let to = self.chunks.len();
        if from < to {
            self.parts.push(Part { depth, shard: self.shard, from, to });
        }
    }
}

/// The slots in some chunks, neighbours at a time: most sets are either small or nearly everybody.
#[derive(Clone, Debug)]
struct Neighbours<'a> {
    chunks: std::slice::Iter<'a, Chunk>,
    /// What is left of the chunk at hand.
    rest: Chunk,
}

impl Iterator for Neighbours<'_> {
    type Item = Range<usize>;

    #[inline]
    fn next(&mut self) -> Option<Range<usize>> {
        while self.rest.bits == 0 {
            self.rest = *self.chunks.next()?;
        }
        let from = self.rest.bits.trailing_zeros();
        let len = (self.rest.bits >> from).trailing_ones();
        // All ones from `from` on turn to zeros with a carry that falls off the end or hits a zero.
        self.rest.bits &= self.rest.bits.wrapping_add(1 << from);
        let first = (self.rest.index * 64 + from) as usize;
        Some(first..first + len as usize)
    }
}

/// Workers that hold equally much of a query.
#[derive(Clone, Copy)]
pub struct Layer<'a> {
    parts: &'a [Part],
    matches: &'a Matches,
}

impl<'a> Layer<'a> {
    /// How many leading blocks of the query they hold; at least 1.
    pub fn depth(&self) -> u32 {
        self.parts[0].depth
    }

    /// The workers, in no particular order.
    pub fn workers(&self) -> impl Iterator<Item = Worker> + use<'a> {
        let Self { parts, matches } = *self;
        parts.iter().flat_map(move |part| matches.workers(part))
    }

    /// The workers' slots, in no particular order: what to keep figures about workers under, in an array, where looking
    /// names up would cost more than the lookup itself.
    ///
    /// A slot is a dense number, below [`Builder::max_workers`](crate::Builder::max_workers) times
    /// [`Builder::shards`](crate::Builder::shards). A worker has one from its first event until it is removed; then
    /// the next new worker may get it. Whose it is, as of an answer, [`Matches::worker`] says.
    pub fn slots(&self) -> impl Iterator<Item = u32> + use<'a> {
        let Self { parts, matches } = *self;
        parts.iter().flat_map(move |part| matches.part_slots(part))
    }
}

impl std::fmt::Debug for Layer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Layer")
            .field("depth", &self.depth())
            .field("workers", &self.workers().collect::<Vec<_>>())
            .finish()
    }
}
