//! Answers: which workers hold how much of a query.

use std::time::{Duration, Instant};

use super::layers::{Layers, Part};
use super::recent::Recent;
use super::snapshot::{Roster, Snapshot};
use crate::event::Worker;
use crate::index::shared::holders::Slot;
use crate::index::shared::prefix::QueryPrefixes;

/// A reusable answer: how many leading blocks of a query each worker holds.
///
/// Results are grouped by match length, longest first, so you can stop after the best group. A group is a *layer*: the
/// workers that hold equally many leading blocks. A worker that does not hold the first block is in none.
///
/// Filling an answer again allocates nothing once it has been as large as it gets, so keep one per thread.
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
/// What you read from an answer borrows it, so read it before the next query fills it, or copy it out:
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

/// What an answer keeps of a shard.
#[derive(Debug)]
struct ShardCopy {
    /// The version of the roster from which everything but the watermark is copied.
    version: u64,
    names_version: u64,
    /// The workers by slot.
    names: Vec<Worker>,
    /// The slots of the incomplete workers.
    incomplete: Vec<Slot>,
    watermark: Watermark,
    /// Where its snapshots were.
    recent: Recent,
}

/// The moment that an answer shows of one shard: the state after exactly its first `events` accepted events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermark {
    /// How many of the shard's accepted events the answer reflects; rejected ones count.
    pub events: u64,
    /// The number of the snapshot. It never goes back for a reader.
    pub generation: u64,
    /// When the snapshot was published. The snapshot of a quiet shard is old and still up to date.
    pub published: Instant,
}

/// The two parts of an answer that a search changes at the same time.
pub(crate) struct Search<'a> {
    pub(crate) prefixes: &'a mut QueryPrefixes,
    pub(crate) layers: &'a mut Layers,
}

impl Matches {
    /// An empty answer. It allocates when it is first filled.
    pub fn new() -> Self {
        Self::default()
    }

    /// The deepest layer: the workers that hold the most of the query. `None` if nobody holds its first block.
    pub fn best(&self) -> Option<Layer<'_>> {
        self.layers().next()
    }

    /// All layers, deepest first.
    pub fn layers(&self) -> impl Iterator<Item = Layer<'_>> {
        self.layers.parts.chunk_by(|a, b| a.depth == b.depth).map(|parts| Layer { parts, matches: self })
    }

    /// Every worker that holds at least the first block, with the number of leading blocks that it holds, deepest first.
    pub fn iter(&self) -> impl Iterator<Item = (Worker, u32)> {
        self.layers.parts.iter().flat_map(|part| self.workers(part).map(|worker| (worker, part.depth)))
    }

    /// As [`Matches::iter`], with the workers' slots instead of their names: see [`Layer::slots`].
    pub fn slots(&self) -> impl Iterator<Item = (u32, u32)> {
        self.layers.parts.iter().flat_map(|part| self.part_slots(part).map(|slot| (slot, part.depth)))
    }

    /// The worker in a slot that this answer gave. For any other slot this is `None` or any worker.
    pub fn worker(&self, slot: u32) -> Option<Worker> {
        let shards = self.shards.len() as u32;
        let copy = self.shards.get(slot.checked_rem(shards)? as usize)?;
        copy.names.get((slot / shards) as usize).copied()
    }

    /// The first `k` of [`Matches::iter`].
    pub fn top_k(&self, k: usize) -> impl Iterator<Item = (Worker, u32)> {
        self.iter().take(k)
    }

    /// Like [`Matches::iter`], but only for candidates: workers that are healthy, have the right model, are not overloaded.
    pub fn among(&self, candidate: impl Fn(Worker) -> bool) -> impl Iterator<Item = (Worker, u32)> {
        self.iter().filter(move |&(worker, _)| candidate(worker))
    }

    /// How many leading blocks of the query the worker holds. Walks over the answer; for all workers at once, use
    /// [`Matches::iter`].
    pub fn depth(&self, worker: Worker) -> u32 {
        self.iter().find(|&(w, _)| w == worker).map_or(0, |(_, depth)| depth)
    }

    /// How many workers the answer has. Counts them at each call.
    pub fn len(&self) -> usize {
        self.layers.len()
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

    /// The moment that the answer shows, shard by shard.
    pub fn watermarks(&self) -> impl ExactSizeIterator<Item = Watermark> {
        self.shards.iter().map(|shard| shard.watermark)
    }

    /// The time since the oldest snapshot in the answer was published; zero for an answer that was never filled. This bounds
    /// the staleness only while events keep coming: a quiet shard publishes nothing.
    pub fn age(&self) -> Duration {
        self.watermarks().map(|watermark| watermark.published).min().map_or(Duration::ZERO, |at| at.elapsed())
    }

    /// For each shard, a number that changes when workers come or go, unique in the process, and the workers by slot.
    pub(crate) fn rosters(&self) -> impl Iterator<Item = (u64, &[Worker])> {
        self.shards.iter().map(|shard| (shard.names_version, &*shard.names))
    }

    /// The depth, the shard, and the slots in that shard, as words of 64 with their numbers: what [`Matches::iter`]
    /// gives, without the names.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (u32, u32, impl Iterator<Item = (usize, u64)>)> {
        self.layers.parts.iter().map(|part| (part.depth, part.shard, self.layers.words(part)))
    }

    fn workers(&self, part: &Part) -> impl Iterator<Item = Worker> + use<'_> {
        let names = &self.shards[part.shard as usize].names;
        self.layers.slots(part).flat_map(|slots| names[slots].iter().copied())
    }

    fn part_slots(&self, part: &Part) -> impl Iterator<Item = u32> + use<'_> {
        let (shard, shards) = (part.shard, self.shards.len() as u32);
        self.layers.slots(part).flat_map(move |slots| slots.map(move |slot| slot as u32 * shards + shard))
    }

    /// Begins a new query over this many shards.
    pub(crate) fn reset(&mut self, shards: usize) {
        self.prefixes.reset();
        self.layers.clear();
        self.shards.truncate(shards);
        self.shards.iter().for_each(|copy| copy.recent.fetch());
    }

    /// Begins `count` new queries in the first elements of `buffer`, which grows if it is too short.
    pub(crate) fn reset_many(buffer: &mut Vec<Self>, count: usize, shards: usize) -> &mut [Self] {
        if buffer.len() < count {
            buffer.resize_with(count, Self::new);
        }
        let answers = &mut buffer[..count];
        for matches in &mut *answers {
            matches.reset(shards);
        }
        answers
    }

    /// Begins the search of a shard. Shards come in order.
    #[inline]
    pub(crate) fn begin(&mut self, shard: u32, snapshot: &Snapshot) -> Search<'_> {
        let stamp = &snapshot.stamp;
        let watermark = Watermark { events: stamp.watermark, generation: stamp.generation, published: stamp.published };
        let Self { prefixes, layers, shards } = self;
        match shards.get_mut(shard as usize) {
            Some(copy) => {
                copy.watermark = watermark;
                copy.recent.note(snapshot);
                if copy.version != stamp.roster.version {
                    copy.take_over(&stamp.roster);
                }
            }
            None => shards.push(ShardCopy::new(&stamp.roster, watermark)),
        }
        layers.begin(shard);
        Search { prefixes, layers }
    }

    /// Ends the query, once all shards have been searched.
    pub(crate) fn sort(&mut self) {
        self.layers.sort();
    }
}

impl ShardCopy {
    fn new(roster: &Roster, watermark: Watermark) -> Self {
        let Roster { version, names_version, names, incomplete } = roster;
        let (names, incomplete) = (names.to_vec(), incomplete.to_vec());
        let recent = Recent::default();
        Self { version: *version, names_version: *names_version, names, incomplete, watermark, recent }
    }

    #[cold]
    fn take_over(&mut self, roster: &Roster) {
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

/// Workers that hold equally many leading blocks of a query.
#[derive(Clone, Copy)]
pub struct Layer<'a> {
    parts: &'a [Part],
    matches: &'a Matches,
}

impl<'a> Layer<'a> {
    /// How many leading blocks of the query these workers hold; at least 1.
    pub fn depth(&self) -> u32 {
        self.parts[0].depth
    }

    /// The workers, in no particular order.
    pub fn workers(&self) -> impl Iterator<Item = Worker> + use<'a> {
        let Self { parts, matches } = *self;
        parts.iter().flat_map(move |part| matches.workers(part))
    }

    /// The workers' slots, in no particular order. A router that keeps its figures about workers in an array can index it
    /// with slots; looking up names would cost more than the lookup of the prompt.
    ///
    /// A slot is a dense number, below [`Builder::max_workers`](crate::Builder::max_workers) times
    /// [`Builder::shards`](crate::Builder::shards). A worker has one from its first event until it is removed; then
    /// the next new worker may get it. [`Matches::worker`] says whose it is in an answer.
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
