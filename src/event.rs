//! What workers report about their caches: blocks stored, removed, cleared.

use std::fmt;

/// One cache of the fleet: an engine instance and a data-parallel rank of it.
///
/// Engines without data parallelism have rank 0. Printed as `id/rank`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Worker {
    /// The instance, as its deployment names it.
    pub id: u64,
    /// The data-parallel rank inside the instance, from 0.
    pub dp_rank: u32,
}

impl Worker {
    /// The worker with this instance id and data-parallel rank.
    pub const fn new(id: u64, dp_rank: u32) -> Self {
        Self { id, dp_rank }
    }
}

impl fmt::Display for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.id, self.dp_rank)
    }
}

/// A stored block under its two names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Block {
    /// The engine's own hash of the block and its whole prefix. It is opaque: any algorithm and seed will do, and workers
    /// may use different ones.
    pub sequence: u64,
    /// The hash of the block's tokens alone, as [`BlockHasher`](crate::BlockHasher) computes it. Queries are made of these.
    pub local: u64,
}

/// One report of one worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The worker that the event is about.
    pub worker: Worker,
    /// The number of the event, one higher with every event of the worker. The worker's status counts a jump as a gap, and a
    /// number that does not rise as a repeat. The event is applied all the same.
    pub id: u64,
    /// What happened.
    pub data: EventData,
}

/// What happened in a worker's cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventData {
    /// Consecutive blocks of one sequence are now cached.
    Stored {
        /// The sequence hash of the block before the first one; `None` at the beginning of a sequence.
        parent: Option<u64>,
        /// The blocks in order; never empty.
        blocks: Vec<Block>,
    },
    /// These blocks are no longer cached. If [copies are counted](Self::CopiesCounted), one copy of each is gone.
    Removed {
        /// Sequence hashes, in any order. Unknown ones are counted and ignored.
        blocks: Vec<u64>,
    },
    /// The worker's cache is empty now.
    Cleared,
    /// The worker is gone. Its blocks and its state are dropped, and its late events are rejected until it is added again. A
    /// shard remembers the last 4,096 removed workers; a late event of an earlier one adds it again. This comes from the
    /// router and not from the worker, so [`Event::id`] does not matter.
    WorkerRemoved,
    /// The worker is there again. This is needed only after [`EventData::WorkerRemoved`]; a new worker is added by its first
    /// event. [`Event::id`] does not matter.
    WorkerAdded,
    /// From now on the worker announces copies: it may keep a block several times, and then stores and removes it once
    /// for each copy. Storing a block again where it is adds a copy, a removal takes one away, and the block is gone
    /// with its last copy. Each block that the worker already holds counts as one copy.
    ///
    /// Without this event, storing a block again changes nothing, and the first removal is final. The event is sent
    /// once, by whoever knows the engine. [`EventData::Cleared`] ends all copies but not the counting;
    /// [`EventData::WorkerRemoved`] ends both. [`Event::id`] does not matter.
    ///
    /// A block that is stored somewhere else moves there, and is one copy again. So a sequence hash that one store names
    /// at two positions ends up as one copy at the second, while a removal that names it twice takes two copies away.
    CopiesCounted,
}

impl EventData {
    /// How many blocks the event names; 0 for the events about a whole worker.
    pub fn len(&self) -> usize {
        match self {
            Self::Stored { blocks, .. } => blocks.len(),
            Self::Removed { blocks } => blocks.len(),
            Self::Cleared | Self::WorkerRemoved | Self::WorkerAdded | Self::CopiesCounted => 0,
        }
    }

    /// Whether the event names no block.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
