//! One publisher of events, as the service sees it.

mod counts;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use counts::{Count, Skip};
use serde::{Deserialize, Serialize};

use super::ingest::Memory;
use crate::event::Worker;

/// One publisher: an engine's data-parallel rank, or an engine that speaks over HTTP.
///
/// It is written by whoever feeds the index from it, and read by everybody. Only [`checkpoint`](Self::checkpoint) waits
/// for the batch at hand.
#[derive(Debug)]
pub struct Rank {
    worker: Worker,
    endpoint: Option<String>,
    link: AtomicU8,
    degraded: AtomicBool,
    bigrams: AtomicBool,
    counts: [AtomicU64; Count::ALL.len()],
    skipped: [AtomicU64; Skip::ALL.len()],
    /// Milliseconds since 1970; 0 before the first.
    seen_ms: AtomicU64,
    lag_ms: AtomicU64,
    next_sequence: AtomicU64,
    /// Data-parallel ranks, ascending.
    ranks: Mutex<Vec<u32>>,
    /// Held while a batch is handed over, so that batches of one publisher come one after another.
    position: Mutex<Resume>,
}

/// How it stands with a publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Not heard of yet, or not any more. What it held is kept for the grace period.
    Connecting,
    /// All that it said so far is known.
    Live,
    /// It is asked for what was missed.
    Replaying,
    /// Something is missing that it cannot say again: answers about it may be wrong, until it clears its cache or
    /// restarts.
    Degraded,
    /// Not heard of for longer than the grace period: what it held was dropped.
    Gone,
}

/// What a snapshot has to keep of a publisher, to go on where it was.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Resume {
    /// The sequence number of the first batch that is not in the index.
    pub next_sequence: u64,
    /// XXH3-64 of the last batch that is, by which a publisher that began anew is told from one that went on.
    pub fingerprint: Option<u64>,
    /// Whether something is missing.
    pub degraded: bool,
    /// By data-parallel rank, what is remembered beside the index.
    pub memory: BTreeMap<u32, Memory>,
}

const LINKS: [State; 4] = [State::Connecting, State::Live, State::Replaying, State::Gone];

impl Rank {
    /// One that publishes at this endpoint; not heard of yet.
    pub fn zmq(worker: Worker, endpoint: impl Into<String>) -> Self {
        Self::new(worker, Some(endpoint.into()), State::Connecting)
    }

    /// One that speaks over HTTP.
    pub fn http(worker: Worker) -> Self {
        Self::new(worker, None, State::Live)
    }

    fn new(worker: Worker, endpoint: Option<String>, link: State) -> Self {
        let rank = Self {
            worker,
            endpoint,
            link: AtomicU8::default(),
            degraded: AtomicBool::default(),
            bigrams: AtomicBool::default(),
            counts: Default::default(),
            skipped: Default::default(),
            seen_ms: AtomicU64::default(),
            lag_ms: AtomicU64::default(),
            next_sequence: AtomicU64::default(),
            ranks: Mutex::new(vec![worker.dp_rank]),
            position: Mutex::default(),
        };
        rank.set_link(link);
        rank
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

    /// The workers that it speaks for, ascending, on the device tier: the registered one, and those that its batches
    /// named.
    pub fn workers(&self) -> Vec<Worker> {
        let ranks = self.ranks.lock().unwrap_or_else(PoisonError::into_inner);
        ranks.iter().map(|&rank| Worker::new(self.worker.id, rank)).collect()
    }

    /// How it stands with it.
    pub fn state(&self) -> State {
        match LINKS[usize::from(self.link.load(Relaxed))] {
            State::Gone => State::Gone,
            _ if self.is_degraded() => State::Degraded,
            link => link,
        }
    }

    /// Whether something is missing that cannot be had again, whatever the state of the connection.
    pub fn is_degraded(&self) -> bool {
        self.degraded.load(Relaxed)
    }

    /// Whether its blocks are bigrams (EAGLE), so that prompts must be hashed likewise
    /// ([`BlockHasher::eagle`](crate::BlockHasher::eagle)).
    pub fn has_bigrams(&self) -> bool {
        self.bigrams.load(Relaxed)
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
        self.position().clone()
    }

    pub(super) fn position(&self) -> MutexGuard<'_, Resume> {
        self.position.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes on where a snapshot left it.
    pub(super) fn resume(&self, resume: Resume) {
        self.next_sequence.store(resume.next_sequence, Relaxed);
        self.degraded.store(resume.degraded, Relaxed);
        resume.memory.keys().for_each(|&rank| self.note_rank(rank));
        *self.position() = resume;
    }

    /// Everything before this batch is in the index, or is not to be had.
    pub(super) fn advance(&self, position: &mut Resume, next_sequence: u64) {
        position.next_sequence = next_sequence;
        self.next_sequence.store(next_sequence, Relaxed);
    }

    pub(super) fn set_degraded(&self, position: &mut Resume, degraded: bool) {
        position.degraded = degraded;
        self.degraded.store(degraded, Relaxed);
    }

    pub(super) fn note_rank(&self, rank: u32) {
        let mut ranks = self.ranks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(place) = ranks.binary_search(&rank) {
            ranks.insert(place, rank);
        }
    }

    pub(super) fn set_link(&self, link: State) {
        let place = LINKS.iter().position(|&other| other == link).expect("degradation is no state of a connection");
        self.link.store(place as u8, Relaxed);
    }

    pub(super) fn note_bigrams(&self) {
        self.bigrams.store(true, Relaxed);
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
