//! The writing half of a shard: applies events, and publishes snapshots.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::Rejection;
use super::publish::{Publication, SwapCell, Updatable};
use super::read::snapshot::{Head, Roster, Snapshot, Stamp};
use super::status::{ShardStatus, WorkerStatus};
use super::write::export::export;
use super::write::run::Run;
use super::write::runs::Change;
use super::write::shard::Shard;
use crate::event::{Event, Worker};

/// The writing half of a shard: applies events, and publishes when told to.
///
/// Every writer thread of an [`Index`](crate::Index) runs one of these. If you have a thread of your own for it, get one
/// from [`Builder::build_local`](crate::Builder::build_local). When it is dropped, the readers keep what was published
/// last.
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
/// A shard has one writer, which belongs to one thread at a time, and any number of readers:
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
pub struct Writer {
    pub(super) shard: Shard,
    publication: Publication<Snapshot, SwapCell<Snapshot>>,
    stamp: Stamp,
    changes: Vec<Change>,
}

impl Writer {
    pub(crate) fn new(mut shard: Shard) -> Self {
        let mut roster = Roster::default();
        roster.renew(shard.take_names(), None);
        let stamp = Stamp { roster, watermark: 0, generation: 0, published: Instant::now() };
        let publication = Publication::new(&shard, &stamp);
        Self { shard, publication, stamp, changes: Vec::new() }
    }

    /// Applies an event. Readers see it after the next [`Writer::publish`]. Costs about one cache miss per block, most of
    /// which are fetched ahead.
    ///
    /// # Errors
    /// Why the event was rejected. That is counted in the worker's status, or in the shard's if it does not know the
    /// worker.
    pub fn apply(&mut self, event: &Event) -> Result<(), Rejection> {
        self.shard.apply(event)
    }

    /// Applies the events of an export. Unlike [`Writer::apply`], it does not expect an event's id to continue the last
    /// one.
    ///
    /// # Errors
    /// Why the first of the rejected events was rejected. The others are applied all the same.
    pub fn import<'a>(&mut self, events: impl IntoIterator<Item = &'a Event>) -> Result<(), Rejection> {
        let mut result = Ok(());
        for event in events {
            result = result.and(self.shard.import(event));
        }
        result
    }

    /// Makes visible all that was applied. The cost is in proportion to the runs that changed since the last time; if
    /// readers hold on to every spare snapshot, all heads are copied, one cache line per run. Never waits for readers.
    pub fn publish(&mut self) {
        self.shard.take_changes(&mut self.changes);
        let (names, incomplete) = (self.shard.take_names(), self.shard.take_incomplete());
        if names.is_some() || incomplete.is_some() {
            self.stamp.roster.renew(names, incomplete);
        }
        self.stamp.watermark = self.shard.events();
        self.stamp.generation += 1;
        self.stamp.published = Instant::now();
        self.publication.publish(&self.shard, &self.changes, &self.stamp);
    }

    /// Brings the spare snapshots up to date. This is optional, and best done when there is nothing else to do: it makes
    /// the next publication cheaper, and frees memory that only outdated snapshots hold.
    pub fn catch_up(&mut self) {
        self.publication.catch_up(&self.shard, &self.stamp);
    }

    /// Returns the whole state as events that rebuild it; see [`Index::export`](crate::Index::export).
    pub fn export(&self) -> Vec<Event> {
        export(&self.shard, None)
    }

    /// As [`Writer::export`], for one worker alone if one is given.
    pub(super) fn export_of(&self, worker: Option<Worker>) -> Vec<Event> {
        export(&self.shard, worker)
    }

    /// Returns figures about the shard, and about its workers in no particular order. Those about a thread and a mailbox
    /// are empty.
    pub fn status(&mut self) -> (ShardStatus, Vec<WorkerStatus>) {
        let spares = self.publication.spare_sum(Snapshot::bytes);
        let status = ShardStatus::without_writer(0, &self.publication.cell().load());
        let shard = &self.shard;
        let status = ShardStatus {
            alive: true,
            applied_events: shard.events(),
            applied_blocks: shard.event_blocks(),
            runs: shard.runs().len() as u64,
            indexed_blocks: shard.runs().blocks(),
            distinct_blocks: shard.runs().reached(),
            held_blocks: shard.held(),
            bytes: (shard.bytes() + spares) as u64 + status.bytes,
            rejected_strangers: shard.strangers(),
            ..status
        };
        (status, shard.workers().map(WorkerStatus::of).collect())
    }

    /// Returns figures about those of these workers that the shard knows.
    pub(super) fn status_of(&self, workers: &[Worker]) -> Vec<WorkerStatus> {
        workers.iter().filter_map(|&worker| self.shard.worker(worker)).map(WorkerStatus::of).collect()
    }

    /// How long the worker's last event took from acceptance to visibility.
    pub(crate) fn note_lag(&mut self, worker: Worker, lag: Duration) {
        self.shard.note_lag(worker, lag);
    }

    pub(crate) fn cell(&self) -> &Arc<SwapCell<Snapshot>> {
        self.publication.cell()
    }
}

/// How many changes ahead of the current one the tables' slots are fetched from memory.
const AHEAD: usize = 8;

impl Updatable for Snapshot {
    type State = Shard;
    type Change = Change;
    type Stamp = Stamp;

    fn take(shard: &Shard, stamp: &Stamp) -> Self {
        let mut snapshot = Self::empty(stamp.clone());
        shard.runs().iter().for_each(|run| insert(&mut snapshot, run));
        snapshot
    }

    fn update(&mut self, shard: &Shard, changes: &[Change], stamp: &Stamp) {
        let runs = shard.runs();
        let fetch = |snapshot: &Self, change: Change| {
            snapshot.prefetch_to_change(change.prefix);
            runs.prefetch(change);
        };
        changes.iter().take(AHEAD).for_each(|&change| fetch(self, change));
        for (done, &change) in changes.iter().enumerate() {
            if let Some(&later) = changes.get(done + AHEAD) {
                fetch(self, later);
            }
            match runs.run_of(change) {
                Some(run) => insert(self, run),
                None => self.remove(change.prefix),
            }
        }
        self.stamp.renew(stamp);
    }
}

fn insert(snapshot: &mut Snapshot, run: &Run) {
    let branch_points = run.branches.iter().map(|&(offset, _)| offset);
    let head = Head::new(run.prefixes.clone(), run.holders.clone(), branch_points);
    snapshot.insert(head, run.parent.is_none());
}
