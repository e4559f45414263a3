//! What happens to the index, and when.

mod file;

pub use file::ScheduleError;

use crate::Event;

/// Lookups and events in the order of their time, as a fleet produced them on the virtual clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Tokens in a block.
    pub block_size: u32,
    /// Workers of the fleet, with the ids 0, 1, ...
    pub workers: u32,
    /// Blocks that each worker can cache.
    pub blocks_per_worker: u64,
    /// From the first request to the end of the last answer, in nanoseconds of virtual time.
    pub length_ns: u64,
    /// What happens, ascending by [`Op::at_ns`]; what is equal is in the order in which it happens.
    pub ops: Vec<Op>,
}

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
    /// When, in nanoseconds of virtual time since the schedule began.
    pub at_ns: u64,
    /// What.
    pub what: What,
}

/// What happens to the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A request arrives; the local hashes of its prompt are looked up.
    Lookup(Box<[u64]>),
    /// A worker says something.
    Event(Event),
}

impl Schedule {
    /// How many lookups and events there are.
    pub fn operations(&self) -> u64 {
        self.ops.len() as u64
    }

    /// How many blocks they name: those of the queries, those stored and those removed.
    pub fn block_operations(&self) -> u64 {
        self.ops.iter().map(|op| op.what.blocks()).sum()
    }
}

impl What {
    /// How many blocks it names; 0 for the events about a whole worker.
    pub fn blocks(&self) -> u64 {
        match self {
            Self::Lookup(hashes) => hashes.len() as u64,
            Self::Event(event) => event.data.len() as u64,
        }
    }
}
