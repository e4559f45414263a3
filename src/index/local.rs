//! One shard without a thread: the writer's half and the readers' half.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::Rejection;
use super::export;
use super::matches::Matches;
use super::prefix::PrefixHasher;
use super::publish::{Publisher, SwapCell};
use super::search::{search, search_many};
use super::shard::Shard;
use super::snapshot::{Roster, Snapshot, Stamp};
use super::status::{ShardStatus, WorkerStatus, lag_histogram};
use crate::event::{Event, Worker};

/// The writing half of a shard: applies events, and publishes when told to.
///
/// [`Index`](crate::Index) runs one of these in every writer thread. Use it directly, through
/// [`Builder::build_local`](crate::Builder::build_local), where the caller has a thread of its own for it. Dropping it
/// leaves the readers with what was last published.
///
/// ```
/// use kvleap::{Block, Event, EventData, Index, Matches, Worker};
/// let (mut writer, reader) = Index::builder().build_local()?;
/// let data = EventData::Stored { parent: None, blocks: vec![Block { sequence: 1, local: 11 }] };
/// writer.apply(&Event { worker: Worker::new(7, 0), id: 1, data })?;
/// let mut matches = Matches::new();
/// reader.find(&[11], &mut matches);
/// assert!(matches.is_empty(), "not published yet");
/// writer.publish();
/// reader.find(&[11], &mut matches);
/// assert_eq!(matches.depth(Worker::new(7, 0)), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # One writer
/// There is one writer to a shard, and it belongs to one thread at a time. Readers are as many as you like:
///
/// ```
/// # use kvleap::{Event, EventData, Index, Worker};
/// # let event = Event { worker: Worker::new(7, 0), id: 1, data: EventData::Cleared };
/// let (mut writer, reader) = Index::builder().build_local()?;
/// let another = reader.clone();
/// std::thread::spawn(move || writer.apply(&event)).join().expect("no panic")?;
/// # drop((reader, another));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
/// ```compile_fail,E0596
/// # use kvleap::{Event, EventData, Index, Worker};
/// # let event = Event { worker: Worker::new(7, 0), id: 1, data: EventData::Cleared };
/// let (writer, reader) = Index::builder().build_local()?;
/// let shared = &writer;
/// shared.apply(&event)?; // two threads could
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
/// ```compile_fail,E0599
/// # use kvleap::Index;
/// let (writer, reader) = Index::builder().build_local()?;
/// let another = writer.clone();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct LocalWriter {
    pub(super) shard: Shard,
    publisher: Publisher<Snapshot, SwapCell<Snapshot>>,
    stamp: Stamp,
    changes: Vec<u64>,
}

impl LocalWriter {
    pub(crate) fn new(mut shard: Shard) -> Self {
        let mut roster = Roster::default();
        roster.renew(shard.take_names(), None);
        let stamp = Stamp { roster, watermark: 0, generation: 0, published: Instant::now() };
        let publisher = Publisher::new(&shard, stamp.clone());
        Self { shard, publisher, stamp, changes: Vec::new() }
    }

    /// Applies an event to the truth; readers see it after the next [`LocalWriter::publish`]. Costs about a cache miss
    /// per block, most of them fetched ahead.
    ///
    /// # Errors
    /// Why the event changed nothing; it is counted in the worker's status, or in the shard's if it does not know the
    /// worker.
    pub fn apply(&mut self, event: &Event) -> Result<(), Rejection> {
        self.shard.apply(event)
    }

    /// Applies the events of an export; unlike [`LocalWriter::apply`] it takes each event's id as it comes.
    ///
    /// # Errors
    /// Why the first event that changed nothing did so. The others are applied all the same.
    pub fn import<'a>(&mut self, events: impl IntoIterator<Item = &'a Event>) -> Result<(), Rejection> {
        let mut result = Ok(());
        for event in events {
            result = result.and(self.shard.import(event));
        }
        result
    }

    /// Makes all that was applied visible. Costs what changed since the last time, in runs; a copy of all heads, one
    /// cache line per run, where readers hold on to every spare snapshot. Never waits for them.
    pub fn publish(&mut self) {
        self.shard.take_changes(&mut self.changes);
        let (names, incomplete) = (self.shard.take_names(), self.shard.take_incomplete());
        if names.is_some() || incomplete.is_some() {
            self.stamp.roster.renew(names, incomplete);
        }
        self.stamp.watermark = self.shard.events();
        self.stamp.generation += 1;
        self.stamp.published = Instant::now();
        self.publisher.publish(&self.shard, &self.changes, self.stamp.clone());
    }

    /// Brings the spare snapshots up to date. Optional, and best done when there is nothing else to do: it makes the
    /// next publication cheaper, and gives back memory that only outdated snapshots hold.
    pub fn catch_up(&mut self) {
        self.publisher.catch_up(&self.shard, &self.stamp);
    }

    /// The whole state as events that rebuild it; see [`Index::export`](crate::Index::export).
    pub fn export(&self) -> Vec<Event> {
        export::export(&self.shard, None)
    }

    /// The same, of one worker alone if one is given.
    pub(super) fn export_of(&self, worker: Option<Worker>) -> Vec<Event> {
        export::export(&self.shard, worker)
    }

    /// Figures of the shard and of its workers, in no particular order; those about a thread and a mailbox are empty.
    pub fn status(&mut self) -> (ShardStatus, Vec<WorkerStatus>) {
        let current = self.publisher.cell().load().bytes();
        let spares = self.publisher.spare_sum(Snapshot::bytes);
        let shard = &self.shard;
        let status = ShardStatus {
            shard: 0,
            alive: true,
            pinned: None,
            mailbox_depth: 0,
            applied_events: shard.events(),
            published_events: self.stamp.watermark,
            applied_blocks: shard.event_blocks(),
            generation: self.stamp.generation,
            runs: shard.runs().len() as u64,
            distinct_blocks: shard.runs().blocks(),
            held_blocks: shard.held(),
            bytes: (shard.bytes() + current + spares) as u64,
            rejected_strangers: shard.strangers(),
            apply_time: Duration::ZERO,
            publish_time: Duration::ZERO,
            lag: lag_histogram(),
        };
        (status, shard.worker_status().collect())
    }

    /// How long the worker's last event took from acceptance to visibility.
    pub(crate) fn note_lag(&mut self, worker: Worker, lag: Duration) {
        self.shard.note_lag(worker, lag);
    }

    pub(crate) fn cell(&self) -> &Arc<SwapCell<Snapshot>> {
        self.publisher.cell()
    }
}

/// The reading half of a shard. Cheap to clone, to send and to share; looks up without a lock.
#[derive(Clone, Debug)]
pub struct LocalReader {
    pub(super) cell: Arc<SwapCell<Snapshot>>,
    pub(super) hasher: PrefixHasher,
    pub(super) stride: u32,
}

impl LocalReader {
    pub(crate) fn new(writer: &LocalWriter, hasher: PrefixHasher, stride: u32) -> Self {
        Self { cell: writer.cell().clone(), hasher, stride }
    }

    /// Who holds how much of the prompt with these local hashes. See [`Index::find`](crate::Index::find).
    pub fn find(&self, hashes: &[u64], matches: &mut Matches) {
        matches.reset(1);
        search(&self.cell.load(), &self.hasher, self.stride, hashes, 0, matches);
        matches.sort();
    }

    /// Who holds how much of each of these prompts, in the same order. See [`Index::find_many`](crate::Index::find_many).
    pub fn find_many<'m>(&self, queries: &[impl AsRef<[u64]>], room: &'m mut Vec<Matches>) -> &'m [Matches] {
        let answers = Matches::reset_many(room, queries.len(), 1);
        search_many(&self.cell.load(), &self.hasher, self.stride, queries, 0, answers);
        answers.iter_mut().for_each(Matches::sort);
        answers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Block, EventData, Worker};
    use crate::index::Builder;

    const A: Worker = Worker::new(1, 0);

    fn store(writer: &mut LocalWriter, parent: Option<u64>, names: std::ops::Range<u64>) {
        let blocks = names.map(|name| Block { sequence: name, local: name }).collect();
        let event = Event { worker: A, id: 0, data: EventData::Stored { parent, blocks } };
        writer.apply(&event).expect("well-formed");
        writer.publish();
    }

    fn evict(writer: &mut LocalWriter, names: std::ops::Range<u64>) {
        let event = Event { worker: A, id: 0, data: EventData::Removed { blocks: names.rev().collect() } };
        writer.apply(&event).expect("well-formed");
        writer.publish();
    }

    /// A run is trimmed and grows again, differently, in the same places, a thousand times.
    #[test]
    fn a_held_snapshot_does_not_change_and_others_see_the_newest() {
        let (mut writer, reader) = Builder::default().seed(1).build_local().expect("valid settings");
        let mut matches = Matches::new();
        store(&mut writer, None, 1..1001);
        let cell = writer.cell().clone();
        let held = cell.load();
        evict(&mut writer, 11..1001);
        for round in 1..1000 {
            let other = round * 1000..round * 1000 + 50;
            store(&mut writer, Some(10), other.clone());
            let query: Vec<u64> = (1..11).chain(other.clone()).collect();
            reader.find(&query, &mut matches);
            assert_eq!(matches.depth(A), 60);
            evict(&mut writer, other);
            reader.find(&query, &mut matches);
            assert_eq!(matches.depth(A), 10);
        }
        evict(&mut writer, 1..11);
        for len in [1, 10, 11, 40, 60, 61, 999, 1000] {
            let query: Vec<u64> = (1..=len).collect();
            matches.reset(1);
            search(&held, &reader.hasher, reader.stride, &query, 0, &mut matches);
            matches.sort();
            assert_eq!(u64::from(matches.depth(A)), len);
        }
        assert_eq!(matches.watermarks().next().map(|mark| mark.events), Some(1));
    }
}
