//! One publisher of events, as the service sees it.

mod counts;
mod doubts;
mod state;

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use counts::{Count, Skip};
pub use doubts::RankDoubts;
use serde::{Deserialize, Serialize};
pub(super) use state::Connection;
pub use state::State;

use super::doubt::{Doubt, Doubts};
use super::ingest::WorkerRecords;
use crate::event::Worker;

/// One publisher: an engine's data-parallel rank, its offloading connector, or an engine that speaks over HTTP.
///
/// It is written by whoever feeds the index from it, and read by everybody. Only [`checkpoint`](Self::checkpoint) waits
/// for the batch at hand.
#[derive(Debug)]
pub struct Publisher {
    worker: Worker,
    endpoint: Option<String>,
    copies: Copies,
    /// Which of the worker's publishers it is, from 0.
    seat: u8,
    /// A [`Connection`].
    connection: AtomicU8,
    doubts: Mutex<RankDoubts>,
    /// Whether there is any among `doubts`.
    doubtful: AtomicBool,
    /// Tokens behind each block that its hash covers; [`UNSAID`] before the first block.
    lookahead: AtomicU32,
    counts: [AtomicU64; Count::ALL.len()],
    skipped: [AtomicU64; Skip::ALL.len()],
    /// Milliseconds since 1970; 0 before the first.
    seen_ms: AtomicU64,
    lag_ms: AtomicU64,
    next_sequence: AtomicU64,
    /// Held while a batch is handed over, so that batches of one publisher come one after another.
    position: Mutex<Position>,
    /// What is remembered of the workers beside the index; shared by all publishers of one worker. Locked after
    /// `position`.
    content: Arc<Mutex<WorkerRecords>>,
}

/// What a publisher means by announcing a block that it has announced already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Copies {
    /// One more physical copy: the block is there until as many copies are removed. Errs to too much where an engine
    /// repeats itself without having copies.
    #[default]
    Counted,
    /// Nothing new: the first removal is the end of the block. Errs to too little where an engine has copies.
    Single,
}

/// What a snapshot has to keep of a publisher, to go on where it was.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Resume {
    /// Where it is in its numbers.
    pub position: Position,
    /// What is doubted about its workers.
    pub doubts: RankDoubts,
    /// Tokens behind each block that its hash covers, once it has said so.
    pub lookahead: Option<u32>,
    /// Which of the worker's publishers it is.
    pub seat: u8,
    /// Whether it has not been heard since it was copied from another instance. Of no interest where it is listened to.
    pub unheard: bool,
    /// What is remembered of its workers.
    pub content: WorkerRecords,
}

/// Where a publisher is in its numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The sequence number of the first batch that is not in the index.
    pub next_sequence: u64,
    /// XXH3-64 of the last batch that is, by which a publisher that began anew is told from one that went on.
    pub fingerprint: Option<u64>,
}

/// Before its first block, a publisher's way of hashing is not known.
const UNSAID: u32 = u32::MAX;

impl Publisher {
    /// One that publishes at this endpoint; not heard of yet.
    pub fn zmq(worker: Worker, endpoint: impl Into<String>) -> Self {
        Self::new(worker, Some(endpoint.into()), Connection::Connecting, Copies::default())
    }

    /// One that speaks over HTTP. Its events say of each block whether it is there, not how often.
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
            doubts: Mutex::default(),
            doubtful: AtomicBool::default(),
            lookahead: AtomicU32::new(UNSAID),
            counts: Default::default(),
            skipped: Default::default(),
            seen_ms: AtomicU64::default(),
            lag_ms: AtomicU64::default(),
            next_sequence: AtomicU64::default(),
            position: Mutex::default(),
            content: Arc::default(),
        }
    }

    /// What its announcing a block again means.
    #[must_use]
    pub fn copies(self, copies: Copies) -> Self {
        Self { copies, ..self }
    }

    /// In this seat, beside the publishers that share `content`.
    pub(super) fn seated(self, seat: u8, content: &Arc<Mutex<WorkerRecords>>) -> Self {
        Self { seat, content: Arc::clone(content), ..self }
    }

    /// In this seat, alone.
    pub(super) fn in_seat(self, seat: u8) -> Self {
        Self { seat, ..self }
    }

    /// What it shares with the other publishers of its worker.
    pub(super) fn shared_content(&self) -> &Arc<Mutex<WorkerRecords>> {
        &self.content
    }

    /// As it was registered. Its batches may name other ranks of the instance, see [`workers`](Self::workers).
    pub fn worker(&self) -> Worker {
        self.worker
    }

    /// Where it publishes; `None` if it speaks over HTTP.
    pub fn endpoint(&self) -> Option<&str> {
        self.endpoint.as_deref()
    }

    /// `zmq` or `http`.
    pub fn source(&self) -> &'static str {
        if self.endpoint.is_some() { "zmq" } else { "http" }
    }

    pub(super) fn seat(&self) -> u8 {
        self.seat
    }

    pub(super) fn counts_copies(&self) -> bool {
        self.copies == Copies::Counted
    }

    /// The workers that it speaks for, ascending, on the device tier: those that its batches named, or the registered one
    /// before the first batch.
    pub fn workers(&self) -> Vec<Worker> {
        let ranks = self.rank_doubts();
        ranks.by_rank(self.worker.dp_rank).map(|(rank, _)| Worker::new(self.worker.id, rank)).collect()
    }

    /// How it stands with it, as far as the publisher itself is concerned; see [`Publisher::state_with`].
    pub fn state(&self) -> State {
        self.state_with(self.doubts())
    }

    /// How it stands with it, where these are all the doubts about its workers.
    pub fn state_with(&self, doubts: Doubts) -> State {
        State::of(self.connection(), doubts)
    }

    pub(super) fn connection(&self) -> Connection {
        Connection::of(self.connection.load(Relaxed))
    }

    /// Whether it can be chosen for a request: it is connected, as far as that is known.
    pub fn is_present(&self) -> bool {
        !matches!(self.connection(), Connection::Unreachable | Connection::Gone)
    }

    /// What is doubted about any of its workers.
    pub fn doubts(&self) -> Doubts {
        self.doubts_by_worker().into_iter().fold(Doubts::NONE, |all, (_, doubts)| all.and(doubts))
    }

    /// What is doubted about each of its workers.
    pub(super) fn doubts_by_worker(&self) -> Vec<(Worker, Doubts)> {
        let passing = self.connection().doubt().into_iter().collect();
        let ranks = self.rank_doubts();
        let by_rank = ranks.by_rank(self.worker.dp_rank);
        by_rank.map(|(rank, doubts)| (Worker::new(self.worker.id, rank), doubts.and(passing))).collect()
    }

    /// What is doubted about any of its workers, where these are all doubts about the workers of the model.
    pub(super) fn doubts_among(&self, all: &[(Worker, Doubts)]) -> Doubts {
        let workers = self.workers();
        let own = all.iter().filter(|(worker, _)| workers.contains(worker));
        own.fold(self.doubts(), |sum, &(_, doubts)| sum.and(doubts))
    }

    /// Whether anything is doubted. Takes no lock.
    pub fn is_doubtful(&self) -> bool {
        self.doubtful.load(Relaxed) || self.connection().doubt().is_some()
    }

    /// Tokens behind each block that its hash covers, once it has stored a block: 0 for most engines, 1 where they
    /// speculate with EAGLE.
    pub fn lookahead(&self) -> Option<u32> {
        Some(self.lookahead.load(Relaxed)).filter(|&tokens| tokens != UNSAID)
    }

    /// How often.
    pub fn count(&self, what: Count) -> u64 {
        self.counts[what as usize].load(Relaxed)
    }

    /// How many events were left out for this reason.
    pub fn skipped(&self, why: Skip) -> u64 {
        self.skipped[why as usize].load(Relaxed)
    }

    /// The sequence number of the last batch applied.
    pub fn last_sequence(&self) -> Option<u64> {
        self.next_sequence.load(Relaxed).checked_sub(1)
    }

    /// How old the last batch was when it was applied, by the publisher's clock.
    pub fn lag(&self) -> Duration {
        Duration::from_millis(self.lag_ms.load(Relaxed))
    }

    /// When it was last heard of: a batch, or the answer to a question whether it is there.
    pub fn last_seen(&self) -> Option<SystemTime> {
        let ms = self.seen_ms.load(Relaxed);
        (ms > 0).then(|| UNIX_EPOCH + Duration::from_millis(ms))
    }

    /// Where it is, for a snapshot. Exact while [`Model::at_rest`](super::Model::at_rest) is held.
    pub fn checkpoint(&self) -> Resume {
        let position = self.position().clone();
        Resume {
            position,
            doubts: self.rank_doubts().clone(),
            lookahead: self.lookahead(),
            seat: self.seat,
            unheard: !self.is_present(),
            content: self.content().clone(),
        }
    }

    pub(super) fn position(&self) -> MutexGuard<'_, Position> {
        self.position.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn content(&self) -> MutexGuard<'_, WorkerRecords> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rank_doubts(&self) -> MutexGuard<'_, RankDoubts> {
        self.doubts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes on where a snapshot left it. It is not connected, so what it holds is doubted until it is.
    pub(super) fn resume(&self, resume: Resume) {
        let Resume { position, doubts, lookahead, seat: _, unheard, content } = resume;
        *self.content() = content;
        self.place(position, doubts, lookahead);
        if unheard && self.endpoint.is_none() {
            self.copied();
        }
    }

    /// It was copied from another instance, and speaks over HTTP: until it does so here, it counts as one that
    /// disappeared.
    pub(super) fn copied(&self) {
        self.set_connection(Connection::Unreachable);
    }

    /// It speaks over HTTP, and has just done so.
    pub(super) fn spoke(&self) {
        if self.endpoint.is_none() && !self.is_present() {
            self.set_connection(Connection::Live);
        }
    }

    /// Goes on where another publisher at the same endpoint was, with which it shares the content.
    pub(super) fn go_on_from(&self, other: &Self) {
        let position = other.position().clone();
        let doubts = other.rank_doubts().clone();
        self.place(position, doubts, other.lookahead());
    }

    fn place(&self, position: Position, doubts: RankDoubts, lookahead: Option<u32>) {
        self.next_sequence.store(position.next_sequence, Relaxed);
        self.set_lookahead(lookahead.unwrap_or(UNSAID));
        if self.endpoint.is_some() && (position.next_sequence > 0 || doubts.has_named()) {
            self.set_connection(Connection::Unreachable);
        }
        *self.position() = position;
        self.change_doubts(|all| *all = doubts);
    }

    /// Everything before this batch is in the index, or is not to be had.
    pub(super) fn advance(&self, position: &mut Position, next_sequence: u64) {
        position.next_sequence = next_sequence;
        self.next_sequence.store(next_sequence, Relaxed);
    }

    fn change_doubts(&self, change: impl FnOnce(&mut RankDoubts)) {
        let mut doubts = self.rank_doubts();
        change(&mut doubts);
        self.doubtful.store(!doubts.is_empty(), Relaxed);
    }

    /// Raises a doubt about all of its workers.
    pub(super) fn doubt(&self, doubt: Doubt) {
        self.change_doubts(|doubts| doubts.raise(doubt));
    }

    /// Raises a doubt about one of its workers.
    pub(super) fn doubt_rank(&self, rank: u32, doubt: Doubt) {
        self.change_doubts(|doubts| doubts.raise_for(rank, doubt));
    }

    /// Ends a doubt about all of its workers.
    pub(super) fn settle(&self, doubt: Doubt) {
        self.change_doubts(|doubts| doubts.settle(doubt));
    }

    /// Ends a doubt about one of its workers.
    pub(super) fn settle_rank(&self, rank: u32, doubt: Doubt) {
        self.change_doubts(|doubts| doubts.settle_for(rank, doubt));
    }

    /// One of its workers holds nothing, and that is certain. If it is the only one, the next block says how it hashes.
    pub(super) fn trust_rank(&self, rank: u32) {
        self.change_doubts(|doubts| {
            if doubts.settle_all_for(rank) {
                self.set_lookahead(UNSAID);
            }
        });
    }

    /// It holds nothing, and that is certain; the next block says how it hashes.
    pub(super) fn trust(&self) {
        self.set_lookahead(UNSAID);
        self.change_doubts(RankDoubts::settle_all);
    }

    /// Its batches name this rank.
    pub(super) fn note_rank(&self, rank: u32) {
        self.change_doubts(|doubts| doubts.name(rank));
    }

    /// It does not speak for this rank any more.
    pub(super) fn drop_rank(&self, rank: u32) {
        self.change_doubts(|doubts| doubts.drop_rank(rank));
    }

    /// A batch named another rank than it was registered as, and is taken for the registered one.
    pub(super) fn contradicted(&self, named: u32) {
        let times = self.counts[Count::Contradictions as usize].fetch_add(1, Relaxed) + 1;
        if times.is_power_of_two() {
            tracing::warn!(
                worker = %self.worker, named, times,
                "batches name another rank than the engine is registered as; the registered one counts"
            );
        }
    }

    pub(super) fn set_connection(&self, connection: Connection) {
        self.connection.store(connection as u8, Relaxed);
    }

    pub(super) fn set_lookahead(&self, tokens: u32) {
        self.lookahead.store(tokens, Relaxed);
    }

    pub(super) fn add(&self, what: Count, times: u64) {
        self.counts[what as usize].fetch_add(times, Relaxed);
    }

    pub(super) fn skip(&self, why: Skip) {
        let times = self.skipped[why as usize].fetch_add(1, Relaxed) + 1;
        // A misbehaving engine repeats itself: say it at the first, second, fourth, eighth, ... time.
        if times.is_power_of_two() {
            tracing::warn!(worker = %self.worker, reason = why.name(), times, "event left out");
        }
    }

    /// Heard of now; `sent` is in seconds since 1970, by the publisher's clock.
    pub(super) fn note_seen(&self, sent: Option<f64>) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.seen_ms.store(now.as_millis() as u64, Relaxed);
        if let Some(sent) = sent.and_then(|sent| Duration::try_from_secs_f64(sent).ok()) {
            self.lag_ms.store(now.saturating_sub(sent).as_millis() as u64, Relaxed);
        }
    }
}
