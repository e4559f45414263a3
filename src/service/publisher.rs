//! One publisher of events: its worker, its connection, its position in the stream, and the doubts about it.

mod counts;
mod doubts;
mod omitted;
mod position;
mod record;
mod state;
mod table;
mod tier_map;

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

pub use counts::{Count, Skip};
pub use doubts::RankDoubts;
pub(in crate::service) use omitted::Omitted;
pub use position::Position;
pub(in crate::service) use position::fingerprint;
pub(in crate::service) use record::{MAX_RANKS, Namespace};
pub use record::{WorkerRecord, WorkerRecords};
pub(in crate::service) use state::Connection;
pub use state::State;
pub(in crate::service) use tier_map::{PublisherTier, SEATS, TierMap};

use crate::event::Worker;
use crate::service::doubt::{Doubt, Doubts};

/// One publisher: an engine's data-parallel rank, its offloading connector, or an engine that speaks over HTTP.
///
/// Whoever feeds the index from it writes to it, and everybody else reads it. Only [`checkpoint`](Self::checkpoint)
/// waits until the batch at hand has been handed over.
#[derive(Debug)]
pub struct Publisher {
    worker: Worker,
    endpoint: Option<String>,
    copies: Copies,
    /// Which of the worker's publishers it is, from 0.
    seat: u8,
    /// A [`Connection`].
    connection: AtomicU8,
    /// Whether it was removed from its model. Written and read while `position` is held.
    left: AtomicBool,
    doubts: Mutex<RankDoubts>,
    /// Whether there are any in `doubts`, for readers that must not take its lock.
    doubtful: AtomicBool,
    /// How many tokens behind each block its hash covers; [`UNKNOWN_LOOKAHEAD`] before the first block.
    lookahead: AtomicU32,
    counts: [AtomicU64; Count::ALL.len()],
    skipped: [AtomicU64; Skip::ALL.len()],
    /// When it was last heard, in milliseconds since 1970; 0 if it never was.
    seen_ms: AtomicU64,
    lag_ms: AtomicU64,
    next_sequence: AtomicU64,
    /// Why there is no connection.
    last_error: Mutex<Option<String>>,
    /// Held while a batch is handed over, so that a publisher's batches come one after another.
    position: Mutex<Position>,
    /// What the service remembers of its workers outside the index. All publishers of one worker share it. Locked after
    /// `position`.
    records: Arc<Mutex<WorkerRecords>>,
}

/// What it means when a publisher announces a block that it has announced before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Copies {
    /// The engine has one more physical copy: the block is there until all copies are removed. With an engine that only
    /// repeats itself, answers are too large.
    #[default]
    Counted,
    /// Nothing new: the first removal is the end of the block. With an engine that has copies, answers are too small.
    Single,
}

/// What a snapshot keeps of a publisher, so that it can continue where it was.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Resume {
    /// Where it is in its numbers.
    pub position: Position,
    /// What is doubted about its workers.
    pub doubts: RankDoubts,
    /// How many tokens behind each block its hash covers, if it has stored a block.
    pub lookahead: Option<u32>,
    /// Which of the worker's publishers it is.
    pub seat: u8,
    /// Whether it has not been heard since it was copied from another instance. Where a listener follows it, this does
    /// not matter.
    pub unheard: bool,
    /// What is remembered of its workers.
    pub records: WorkerRecords,
}

/// The lookahead of a publisher that has not stored a block yet.
const UNKNOWN_LOOKAHEAD: u32 = u32::MAX;

impl Publisher {
    /// Creates a publisher that publishes at this endpoint and was not heard yet.
    pub fn zmq(worker: Worker, endpoint: impl Into<String>) -> Self {
        Self::new(worker, Some(endpoint.into()), Connection::Connecting, Copies::default())
    }

    /// Creates a publisher that speaks over HTTP. Its events say whether a block is there, not how many copies there
    /// are.
    pub fn http(worker: Worker) -> Self {
        Self::new(worker, None, Connection::Live, Copies::Single)
    }

    fn new(worker: Worker, endpoint: Option<String>, connection: Connection, copies: Copies) -> Self {
        Self {
            worker,
            endpoint,
            copies,
            seat: 0,
            connection: AtomicU8::new(connection as u8),
            left: AtomicBool::default(),
            doubts: Mutex::default(),
            doubtful: AtomicBool::default(),
            lookahead: AtomicU32::new(UNKNOWN_LOOKAHEAD),
            counts: Default::default(),
            skipped: Default::default(),
            seen_ms: AtomicU64::default(),
            lag_ms: AtomicU64::default(),
            next_sequence: AtomicU64::default(),
            last_error: Mutex::default(),
            position: Mutex::default(),
            records: Arc::default(),
        }
    }

    /// Sets what it means when it announces a block again.
    #[must_use]
    pub fn copies(self, copies: Copies) -> Self {
        Self { copies, ..self }
    }

    /// Seats it with the other publishers of its worker, which share these records.
    pub(in crate::service) fn seated(self, seat: u8, records: &Arc<Mutex<WorkerRecords>>) -> Self {
        Self { seat, records: Arc::clone(records), ..self }
    }

    /// Seats it alone.
    pub(in crate::service) fn in_seat(self, seat: u8) -> Self {
        Self { seat, ..self }
    }

    /// Returns what it shares with the other publishers of its worker.
    pub(in crate::service) fn shared_records(&self) -> &Arc<Mutex<WorkerRecords>> {
        &self.records
    }

    /// Returns the worker that it was registered as. Its batches may name other ranks of the instance, see
    /// [`workers`](Self::workers).
    pub fn worker(&self) -> Worker {
        self.worker
    }

    /// Returns where it publishes; `None` if it speaks over HTTP.
    pub fn endpoint(&self) -> Option<&str> {
        self.endpoint.as_deref()
    }

    /// Returns `zmq` or `http`.
    pub fn source(&self) -> &'static str {
        if self.endpoint.is_some() { "zmq" } else { "http" }
    }

    pub(in crate::service) fn seat(&self) -> u8 {
        self.seat
    }

    pub(in crate::service) fn counts_copies(&self) -> bool {
        self.copies == Copies::Counted
    }

    /// Returns the workers that it speaks for, ascending, on the device tier: those that its batches have named, or the
    /// registered one before the first batch.
    pub fn workers(&self) -> Vec<Worker> {
        let ranks = self.rank_doubts();
        ranks.by_rank(self.worker.dp_rank).map(|(rank, _)| Worker::new(self.worker.id, rank)).collect()
    }

    /// Returns its state, as far as its own doubts tell; see [`Publisher::state_with`].
    pub fn state(&self) -> State {
        self.state_with(self.doubts())
    }

    /// Returns its state, where these are all the doubts about its workers.
    pub fn state_with(&self, doubts: Doubts) -> State {
        State::of(self.connection(), doubts)
    }

    pub(in crate::service) fn connection(&self) -> Connection {
        Connection::of(self.connection.load(Relaxed))
    }

    /// Whether requests can be routed to it: as far as is known, it is connected.
    pub fn is_present(&self) -> bool {
        !matches!(self.connection(), Connection::Unreachable | Connection::Gone)
    }

    /// Notes that it is removed from its model: nothing that it says from now on may be indexed, because nobody could
    /// remove it again.
    pub(in crate::service) fn leave(&self, _position: &mut Position) {
        self.left.store(true, Relaxed);
    }

    /// Whether it was removed from its model.
    pub(in crate::service) fn has_left(&self, _position: &Position) -> bool {
        self.left.load(Relaxed)
    }

    /// Returns what is doubted about any of its workers.
    pub fn doubts(&self) -> Doubts {
        self.doubts_by_worker().into_iter().fold(Doubts::NONE, |all, (_, doubts)| all.and(doubts))
    }

    /// Returns what is doubted about each of its workers.
    pub(in crate::service) fn doubts_by_worker(&self) -> Vec<(Worker, Doubts)> {
        let of_connection = self.connection().doubt().into_iter().collect();
        let ranks = self.rank_doubts();
        let by_rank = ranks.by_rank(self.worker.dp_rank);
        by_rank.map(|(rank, doubts)| (Worker::new(self.worker.id, rank), doubts.and(of_connection))).collect()
    }

    /// Returns what is doubted about any of its workers, given all doubts about the workers of the model, sorted.
    pub(in crate::service) fn doubts_among(&self, all: &[(Worker, Doubts)]) -> Doubts {
        // Sorted, so that it takes a look at the doubts about its own instance only.
        let from = all.partition_point(|(worker, _)| worker.id < self.worker.id);
        let instance = all[from..].iter().take_while(|(worker, _)| worker.id == self.worker.id);
        let workers = self.workers();
        let own = instance.filter(|(worker, _)| workers.binary_search(worker).is_ok());
        own.fold(self.doubts(), |sum, &(_, doubts)| sum.and(doubts))
    }

    /// Whether anything is doubted. Takes no lock.
    pub fn is_doubtful(&self) -> bool {
        self.doubtful.load(Relaxed) || self.connection().doubt().is_some()
    }

    /// Returns how many tokens behind each block its hash covers, once it has stored a block: 0 for most engines, 1
    /// where they speculate with EAGLE.
    pub fn lookahead(&self) -> Option<u32> {
        Some(self.lookahead.load(Relaxed)).filter(|&tokens| tokens != UNKNOWN_LOOKAHEAD)
    }

    /// Returns one of its counters.
    pub fn count(&self, what: Count) -> u64 {
        self.counts[what as usize].load(Relaxed)
    }

    /// Returns how many of its events were skipped for this reason.
    pub fn skipped(&self, why: Skip) -> u64 {
        self.skipped[why as usize].load(Relaxed)
    }

    /// Returns the sequence number of the last batch applied.
    pub fn last_sequence(&self) -> Option<u64> {
        self.next_sequence.load(Relaxed).checked_sub(1)
    }

    /// Returns how old the last batch was when it was applied, by the publisher's clock.
    pub fn lag(&self) -> Duration {
        Duration::from_millis(self.lag_ms.load(Relaxed))
    }

    /// Returns when it was last heard: when a batch or the answer to a probe arrived.
    pub fn last_seen(&self) -> Option<SystemTime> {
        let ms = self.seen_ms.load(Relaxed);
        (ms > 0).then(|| UNIX_EPOCH + Duration::from_millis(ms))
    }

    /// Returns why there is no connection to it, or why its last replay failed; `None` since it was heard.
    pub fn last_error(&self) -> Option<String> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes why there is no connection, or that there is one.
    pub(in crate::service) fn set_last_error(&self, error: Option<&str>) {
        let mut last = self.last_error.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_deref() != error {
            *last = error.map(str::to_owned);
        }
    }

    /// Returns where it is, for a snapshot. Exact while [`Model::at_rest`](crate::service::Model::at_rest) is held.
    pub fn checkpoint(&self) -> Resume {
        let position = self.position().clone();
        Resume {
            position,
            doubts: self.rank_doubts().clone(),
            lookahead: self.lookahead(),
            seat: self.seat,
            unheard: !self.is_present(),
            records: self.records().clone(),
        }
    }

    pub(in crate::service) fn position(&self) -> MutexGuard<'_, Position> {
        self.position.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::service) fn records(&self) -> MutexGuard<'_, WorkerRecords> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns about how many bytes it takes, without the records that it shares with other publishers.
    pub(in crate::service) fn bytes(&self) -> usize {
        size_of::<Self>() + self.endpoint.as_ref().map_or(0, String::capacity)
    }

    fn rank_doubts(&self) -> MutexGuard<'_, RankDoubts> {
        self.doubts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts it where a snapshot left it. It is not connected yet, so what it holds is doubted until it is.
    pub(in crate::service) fn resume(&self, resume: Resume) {
        let Resume { position, doubts, lookahead, seat: _, unheard, records } = resume;
        *self.records() = records;
        self.set_position(position, doubts, lookahead);
        if unheard && self.endpoint.is_none() {
            self.set_copied();
        }
    }

    /// Notes that it was copied from another instance and speaks over HTTP. Until it speaks to this instance, it counts
    /// as one that has disappeared.
    pub(in crate::service) fn set_copied(&self) {
        self.set_connection(Connection::Unreachable);
    }

    /// Notes that it has just spoken over HTTP.
    pub(in crate::service) fn note_spoken(&self) {
        if self.endpoint.is_none() && !self.is_present() {
            self.set_connection(Connection::Live);
        }
    }

    /// Puts it where another publisher at the same endpoint was, with which it shares the records.
    pub(in crate::service) fn go_on_from(&self, other: &Self) {
        let position = other.position().clone();
        let doubts = other.rank_doubts().clone();
        self.set_position(position, doubts, other.lookahead());
    }

    fn set_position(&self, position: Position, doubts: RankDoubts, lookahead: Option<u32>) {
        self.next_sequence.store(position.next_sequence, Relaxed);
        self.set_lookahead(lookahead.unwrap_or(UNKNOWN_LOOKAHEAD));
        if self.endpoint.is_some() && (position.next_sequence > 0 || doubts.has_named()) {
            self.set_connection(Connection::Unreachable);
        }
        *self.position() = position;
        self.change_doubts(|all| *all = doubts);
    }

    /// Moves on to this sequence number: every batch before it is in the index, or is lost.
    pub(in crate::service) fn advance(&self, position: &mut Position, next_sequence: u64) {
        position.next_sequence = next_sequence;
        self.next_sequence.store(next_sequence, Relaxed);
    }

    fn change_doubts(&self, change: impl FnOnce(&mut RankDoubts)) {
        let mut doubts = self.rank_doubts();
        change(&mut doubts);
        self.doubtful.store(!doubts.is_empty(), Relaxed);
    }

    /// Raises a doubt about all of its workers.
    pub(in crate::service) fn doubt(&self, doubt: Doubt) {
        self.change_doubts(|doubts| doubts.raise(doubt));
    }

    /// Raises a doubt about one of its workers.
    pub(in crate::service) fn doubt_rank(&self, rank: u32, doubt: Doubt) {
        self.change_doubts(|doubts| doubts.raise_for(rank, doubt));
    }

    /// Ends a doubt about all of its workers.
    pub(in crate::service) fn settle(&self, doubt: Doubt) {
        self.change_doubts(|doubts| doubts.settle(doubt));
    }

    /// Ends these doubts about one of its workers.
    pub(in crate::service) fn settle_rank(&self, rank: u32, ended: Doubts) {
        if !ended.is_empty() {
            self.change_doubts(|doubts| doubts.settle_for(rank, ended));
        }
    }

    /// Ends all doubts about one of its workers, which certainly holds nothing now. If it is the only worker, the next
    /// block decides again how the publisher hashes.
    pub(in crate::service) fn trust_rank(&self, rank: u32) {
        self.change_doubts(|doubts| {
            if doubts.settle_all_for(rank) {
                self.set_lookahead(UNKNOWN_LOOKAHEAD);
            }
        });
    }

    /// Ends all doubts: it certainly holds nothing now, and the next block decides again how it hashes.
    pub(in crate::service) fn trust(&self) {
        self.set_lookahead(UNKNOWN_LOOKAHEAD);
        self.change_doubts(RankDoubts::settle_all);
    }

    /// Notes that its batches name this rank.
    pub(in crate::service) fn note_rank(&self, rank: u32) {
        self.change_doubts(|doubts| doubts.name(rank));
    }

    /// Notes that it does not speak for this rank any more.
    pub(in crate::service) fn drop_rank(&self, rank: u32) {
        self.change_doubts(|doubts| doubts.drop_rank(rank));
    }

    /// Counts a batch that named another rank than it was registered as, and is applied to the registered one.
    pub(in crate::service) fn note_contradiction(&self, named: u32) {
        let times = self.counts[Count::Contradictions as usize].fetch_add(1, Relaxed) + 1;
        if times.is_power_of_two() {
            tracing::warn!(
                worker = %self.worker, named, times,
                "batches name another rank than the engine was registered as; they are applied to the registered one"
            );
        }
    }

    pub(in crate::service) fn set_connection(&self, connection: Connection) {
        self.connection.store(connection as u8, Relaxed);
    }

    pub(in crate::service) fn set_lookahead(&self, tokens: u32) {
        self.lookahead.store(tokens, Relaxed);
    }

    /// Adds to one of its counters.
    pub(in crate::service) fn add(&self, what: Count, times: u64) {
        self.counts[what as usize].fetch_add(times, Relaxed);
    }

    /// Counts an event that was skipped.
    pub(in crate::service) fn skip(&self, why: Skip) {
        let times = self.skipped[why as usize].fetch_add(1, Relaxed) + 1;
        // A misbehaving engine repeats itself: log the first, second, fourth, eighth, ... time.
        if times.is_power_of_two() {
            tracing::warn!(worker = %self.worker, reason = why.name(), times, "skipped an event");
        }
    }

    /// Notes that it was heard just now; `sent` is in seconds since 1970, by the publisher's clock.
    pub(in crate::service) fn note_seen(&self, sent: Option<f64>) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.seen_ms.store(now.as_millis() as u64, Relaxed);
        if let Some(sent) = sent.and_then(|sent| Duration::try_from_secs_f64(sent).ok()) {
            self.lag_ms.store(now.saturating_sub(sent).as_millis() as u64, Relaxed);
        }
    }
}
