//! Schedules: what happens to an index, and when.

mod file;

pub use file::ScheduleError;

use crate::event::Event;

/// Lookups and events in the order of their times, as a simulated fleet produced them on a virtual clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Tokens in a block.
    pub block_size: u32,
    /// Workers in the fleet, with the ids 0, 1, ...
    pub workers: u32,
    /// Blocks that each worker's cache has room for.
    pub blocks_per_worker: u64,
    /// Nanoseconds of virtual time from the first request to the end of the last answer.
    pub length_ns: u64,
    /// The operations, ascending by [`Op::at_ns`]; operations of the same time are in the order in which they happen.
    pub ops: Vec<Op>,
}

/// An operation on the index, with its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
    /// When it happens, in nanoseconds of virtual time since the schedule began.
    pub at_ns: u64,
    /// What happens.
    pub what: What,
}

/// What happens to the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A request arrives, and the local hashes of its prompt are looked up.
    Lookup(Box<[u64]>),
    /// A worker sends an event.
    Event(Event),
}

impl Schedule {
    /// Returns the number of lookups and events.
    pub fn operations(&self) -> u64 {
        self.ops.len() as u64
    }

    /// Returns the number of blocks that they name: blocks of queries, blocks stored, and blocks removed.
    pub fn block_operations(&self) -> u64 {
        self.ops.iter().map(|op| op.what.blocks()).sum()
    }
}

impl What {
    /// Returns the number of blocks that it names; 0 for events about a whole worker.
    pub fn blocks(&self) -> u64 {
        match self {
            Self::Lookup(hashes) => hashes.len() as u64,
            Self::Event(event) => event.data.len() as u64,
        }
    }
}
