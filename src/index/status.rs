//! What an index says about itself.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::error::Rejection;
use super::read::snapshot::Snapshot;
use super::write::left_out::LeftOut;
use super::write::multiset::Multiset;
use super::write::worker::WorkerState;
use crate::event::Worker;

/// The state of a whole index. Each shard's part is as of when its writer answered.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Status {
    /// All shards, by number.
    pub shards: Vec<ShardStatus>,
    /// All workers, ascending.
    pub workers: Vec<WorkerStatus>,
}

/// The state of one shard and its writer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ShardStatus {
    /// The shard's number.
    pub shard: usize,
    /// Whether the writer runs. If it was shut down or has panicked, lookups go on with the last snapshot, and figures that
    /// only the writer knows are zero.
    pub alive: bool,
    /// The core that the writer is pinned to.
    pub pinned: Option<usize>,
    /// Events that wait for the writer, those of imports included.
    pub mailbox_depth: usize,
    /// How many events can wait: [`Builder::mailbox`](crate::Builder::mailbox).
    pub mailbox_capacity: usize,
    /// The memory of the events that wait, in bytes.
    pub mailbox_bytes: u64,
    /// How many bytes can wait: [`Builder::mailbox_bytes`](crate::Builder::mailbox_bytes).
    pub mailbox_bytes_capacity: u64,
    /// Events applied or rejected so far.
    pub applied_events: u64,
    /// Events that the current snapshot reflects.
    pub published_events: u64,
    /// Blocks named by these events.
    pub applied_blocks: u64,
    /// Publications so far.
    pub generation: u64,
    /// Runs: chains of blocks kept as one array.
    pub runs: u64,
    /// Blocks in the position arrays: each prefix once, however many workers hold it, together with the blocks before
    /// it, which are kept even if nobody holds them. So there can be more than [`held_blocks`](Self::held_blocks).
    pub indexed_blocks: u64,
    /// Blocks held, each prefix once, however many workers hold it. A block that workers hold only behind a hole in its
    /// run is not counted, so this is at most [`held_blocks`](Self::held_blocks).
    pub distinct_blocks: u64,
    /// Blocks held, summed over the workers.
    pub held_blocks: u64,
    /// Heap memory of the shard and its snapshots, in bytes. The mailbox is not included, nor are blocks beyond holes, nor
    /// replaced snapshots that readers still hold.
    pub bytes: u64,
    /// Rejected events of workers that the shard does not know: removed ones, and those beyond the limit.
    pub rejected_strangers: [u64; Rejection::ALL.len()],
    /// Time the writer spent applying events, without waiting for them and without publishing.
    pub apply_time: Duration,
    /// Time the writer spent publishing.
    pub publish_time: Duration,
    /// The time from an event's acceptance to its visibility, in nanoseconds, with two significant digits. One value for each
    /// event since the start, without imports. More than a minute counts as a minute.
    pub lag: Histogram<u64>,
}

/// The state of one worker.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct WorkerStatus {
    /// The worker.
    pub worker: Worker,
    /// Sequence hashes that it holds.
    pub held_blocks: u64,
    /// Copies of these blocks beyond the first of each, in total; `None` if copies are not counted
    /// ([`EventData::CopiesCounted`](crate::EventData::CopiesCounted)).
    pub extra_copies: Option<u64>,
    /// The id of its last event.
    pub last_event_id: Option<u64>,
    /// The time from acceptance to visibility of its last event. `None` before the first, and in a shard without a thread.
    pub lag: Option<Duration>,
    /// How often an event id was higher than expected.
    pub gaps: u64,
    /// How many event ids these gaps left out.
    pub missing_events: u64,
    /// How many event ids were not higher than the one before. Such events are applied all the same.
    pub repeated_events: u64,
    /// Removals of sequence hashes that the worker did not hold. They are ignored.
    pub unknown_removals: u64,
    /// Blocks that the index left out: those of rejected stores, until the worker stores them again or removes them.
    /// While there are any, answers can be too small for the worker
    /// ([`Matches::incomplete`](crate::Matches::incomplete)). Beyond [`MAX_LEFT_OUT`](crate::MAX_LEFT_OUT) this stays at
    /// one more than that until the worker is cleared or removed.
    pub left_out_blocks: u64,
    /// Rejected events by kind, in the order of [`Rejection::ALL`].
    pub rejected: [u64; Rejection::ALL.len()],
}

impl ShardStatus {
    /// What can be said of a shard without its writer.
    pub(crate) fn without_writer(shard: usize, snapshot: &Snapshot) -> Self {
        Self {
            shard,
            alive: false,
            pinned: None,
            mailbox_depth: 0,
            mailbox_capacity: 0,
            mailbox_bytes: 0,
            mailbox_bytes_capacity: 0,
            applied_events: snapshot.stamp.watermark,
            published_events: snapshot.stamp.watermark,
            applied_blocks: 0,
            generation: snapshot.stamp.generation,
            runs: snapshot.len() as u64,
            indexed_blocks: 0,
            distinct_blocks: 0,
            held_blocks: 0,
            bytes: snapshot.bytes() as u64,
            rejected_strangers: Default::default(),
            apply_time: Duration::ZERO,
            publish_time: Duration::ZERO,
            lag: lag_histogram(),
        }
    }
}

impl WorkerStatus {
    pub(crate) fn of(state: &WorkerState) -> Self {
        let WorkerState { worker, blocks, copies, left_out, counters, .. } = state;
        Self {
            worker: *worker,
            held_blocks: blocks.len() as u64,
            extra_copies: copies.as_deref().map(Multiset::total),
            last_event_id: counters.last_event_id,
            lag: counters.lag,
            gaps: counters.gaps,
            missing_events: counters.missing_events,
            repeated_events: counters.repeated_events,
            unknown_removals: counters.unknown_removals,
            left_out_blocks: left_out.as_deref().map_or(0, LeftOut::len),
            rejected: counters.rejected,
        }
    }

    /// How many of its events were rejected for this reason.
    pub fn rejected(&self, kind: Rejection) -> u64 {
        self.rejected[kind as usize]
    }
}

/// A histogram of lags up to a minute, to two digits.
pub(crate) fn lag_histogram() -> Histogram<u64> {
    let mut lag = Histogram::new_with_bounds(1, 60_000_000_000, 2).expect("constant, valid bounds");
    lag.auto(false);
    lag
}
