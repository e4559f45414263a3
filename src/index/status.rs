//! State one can see.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::error::Rejection;
use crate::event::Worker;

/// The state of a whole index, as of when each shard's writer got to the question.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// By shard.
    pub shards: Vec<ShardStatus>,
    /// By worker, ascending.
    pub workers: Vec<WorkerStatus>,
}

/// The state of one shard and its writer.
#[derive(Clone, Debug)]
pub struct ShardStatus {
    /// Its number.
    pub shard: usize,
    /// Whether the writer runs. If it does not (shut down, or panicked), lookups answer from the last snapshot, and
    /// the figures here that only the writer knows are those of that snapshot or zero.
    pub alive: bool,
    /// The core the writer is pinned to.
    pub pinned: Option<usize>,
    /// Events that wait for the writer, and questions such as flushes.
    pub mailbox_depth: usize,
    /// Events applied or rejected so far.
    pub applied_events: u64,
    /// Events that the current snapshot shows.
    pub published_events: u64,
    /// Blocks named by these events.
    pub applied_blocks: u64,
    /// Publications so far.
    pub generation: u64,
    /// Runs: chains of blocks kept as one array.
    pub runs: u64,
    /// Blocks in the runs: distinct prefixes, whoever holds them.
    pub distinct_blocks: u64,
    /// Blocks held, summed over the workers.
    pub held_blocks: u64,
    /// Heap memory of the shard and its snapshots, in bytes: without the mailbox, without what is detached beyond
    /// holes, and without snapshots that readers hold although they were replaced.
    pub bytes: u64,
    /// Rejected events of workers that the shard does not know: removed ones, and those beyond the limit.
    pub rejected_strangers: [u64; Rejection::ALL.len()],
    /// Time the writer spent applying events, without waiting for them and without publishing.
    pub apply_time: Duration,
    /// Time the writer spent publishing.
    pub publish_time: Duration,
    /// From an event's acceptance to its visibility, in nanoseconds, one value per event since the start; imports do not
    /// count. To two digits, and more than a minute counts as a minute.
    pub lag: Histogram<u64>,
}

/// The state of one worker.
#[derive(Clone, Copy, Debug)]
pub struct WorkerStatus {
    /// Who.
    pub worker: Worker,
    /// Sequence hashes it holds.
    pub held_blocks: u64,
    /// Copies of these blocks beyond one each, all together; `None` where copies are not counted
    /// ([`EventData::CopiesCounted`](crate::EventData::CopiesCounted)).
    pub extra_copies: Option<u64>,
    /// The last event id it sent.
    pub last_event_id: Option<u64>,
    /// From acceptance to visibility of its last event; `None` before the first, and in a shard without a thread.
    pub lag: Option<Duration>,
    /// How often an event id was higher than expected.
    pub gaps: u64,
    /// How many event ids these gaps left out.
    pub missing_events: u64,
    /// How many event ids were not higher than the one before; such events are applied all the same.
    pub repeated_events: u64,
    /// Removals of sequence hashes that the worker did not hold; ignored.
    pub unknown_removals: u64,
    /// Blocks that the index left out: those of rejected stores, until the worker stores them again or removes them.
    /// While there are any, answers can say too little of the worker
    /// ([`Matches::incomplete`](crate::Matches::incomplete)). [`MAX_LEFT_OUT`](crate::MAX_LEFT_OUT) and one stand for
    /// any number beyond, and stay until the worker is cleared or removed.
    pub left_out_blocks: u64,
    /// Rejected events by kind, in the order of [`Rejection::ALL`].
    pub rejected: [u64; Rejection::ALL.len()],
}

impl WorkerStatus {
    /// How many of its events were rejected for this reason.
    pub fn rejected(&self, kind: Rejection) -> u64 {
        self.rejected[kind as usize]
    }
}

/// Lags up to a minute, to two digits.
pub(crate) fn lag_histogram() -> Histogram<u64> {
    let mut lag = Histogram::new_with_bounds(1, 60_000_000_000, 2).expect("constant, valid bounds");
    lag.auto(false);
    lag
}
