//! The systems that are measured: a small trait, and a file for each crate that implements it.
//!
//! A system is opened as two halves, because most peers distinguish them and because a separated one has them on
//! different threads. [`Open::encode`] and [`Reader::query`] make what a caller would have anyway (an event in the
//! system's own type, a query in its hash type), so that this is not timed.

mod dynamo;
mod kv_index;
mod kvleap;
mod null;
mod reference;
mod separated;
mod smg;

use std::hint::black_box;

pub use self::dynamo::{Compressed, Positional};
pub use self::kv_index::KvIndex;
pub use self::kvleap::{Direct, Kvleap};
pub use self::null::Null;
pub use self::reference::Literal;
pub use self::separated::Separated;
pub use self::smg::Smg;

/// What a system is told before the first event.
#[derive(Clone, Copy, Debug)]
pub struct Fleet {
    /// Number of workers, which are numbered from 0.
    pub workers: u32,
    /// Tokens per block.
    pub block_size: u32,
}

/// An index under test.
pub trait System {
    type Writer: Writer;
    type Reader: Reader;

    /// Opens an empty index. Threads that it starts run on the cores of the thread that opens it.
    fn open(fleet: Fleet) -> Open<Self::Writer, Self::Reader>;
}

/// An index that is open.
pub struct Open<W: Writer, R> {
    /// Converts an event, outside the clock.
    pub encode: Box<dyn Fn(::kvleap::Event) -> W::Event + Send>,
    pub writer: W,
    pub reader: R,
}

/// The half that takes the workers' events.
pub trait Writer: Send {
    /// An event in the system's own type. It is owned, so that handing it over and freeing it costs all systems alike.
    type Event: Send;

    /// Hands `event` over. The system decides whether it is applied on return.
    fn apply(&mut self, event: Self::Event);

    /// Waits until lookups see every event that was handed over.
    fn flush(&mut self);
}

/// The half that answers queries.
pub trait Reader: Send {
    /// A query in the system's own type.
    type Query: Send;

    /// Converts a query, outside the clock.
    fn query(&self, hashes: &[u64]) -> Self::Query;

    /// Reports the depth of every worker that holds the query's first block, each once.
    fn all(&mut self, query: &Self::Query, report: impl FnMut(u32, u32));

    /// Finds the deepest workers, in the cheapest way that the system has. By default, it goes through all workers.
    fn best(&mut self, query: &Self::Query) -> Best {
        let mut best = Best::default();
        self.all(query, |worker, depth| best.offer(worker, depth));
        black_box(best)
    }
}

/// The deepest workers of an answer, in a form that can be compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Best {
    pub depth: u32,
    /// How many workers hold `depth` blocks.
    pub workers: u32,
    /// The sum of these workers' numbers.
    pub sum: u64,
}

impl Best {
    /// Takes one worker's depth into account.
    pub fn offer(&mut self, worker: u32, depth: u32) {
        if depth > self.depth {
            *self = Self { depth, ..Self::default() };
        }
        if depth == self.depth {
            self.workers += 1;
            self.sum += u64::from(worker);
        }
    }
}

/// Where events are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// On the thread that looks up, between its lookups.
    Direct,
    /// On a thread and core of their own, as in a router. The thread that looks up hands an event over, waits until
    /// lookups see it, then looks up, and so reads what another core has just written.
    Separated,
}

impl Mode {
    /// Returns the name as the command line spells it.
    pub fn text(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Separated => "separated",
        }
    }
}

/// Every system by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Name {
    /// Our index: `Index` with its mailbox and writer thread, or the same shard on the caller's thread.
    Kvleap,
    /// Our index once more: the difference between the two is noise.
    KvleapAgain,
    /// Our index on the thread that other systems get here, in place of its own mailbox and thread.
    KvleapLocal,
    KvIndex,
    DynamoCompressed,
    DynamoPositional,
    Smg,
    /// No index, to measure the harness alone.
    Null,
    /// The literal model of the contract, for small runs only.
    Reference,
}

impl Name {
    /// Returns the name as the command line spells it.
    pub fn text(self) -> &'static str {
        match self {
            Self::Kvleap => "kvleap",
            Self::KvleapAgain => "kvleap-again",
            Self::KvleapLocal => "kvleap-local",
            Self::KvIndex => "kv-index",
            Self::DynamoCompressed => "dynamo-compressed",
            Self::DynamoPositional => "dynamo-positional",
            Self::Smg => "smg",
            Self::Null => "null",
            Self::Reference => "reference",
        }
    }

    /// Returns whether the system can be measured in this mode. Dynamo's index has a thread of its own.
    pub fn has(self, mode: Mode) -> bool {
        match self {
            Self::DynamoCompressed | Self::DynamoPositional | Self::KvleapLocal => mode == Mode::Separated,
            _ => true,
        }
    }

    /// Returns whether the system is measured unless others are named.
    pub fn is_usual(self) -> bool {
        !matches!(self, Self::Reference | Self::KvleapLocal)
    }

    /// Returns whether the system promises the exact depth of every worker. If it does not, wrong answers are counted
    /// but are no failure.
    pub fn is_exact(self) -> bool {
        !matches!(self, Self::DynamoCompressed | Self::DynamoPositional | Self::Null)
    }

    /// Returns whether this is another crate to compare with, rather than our index, the harness or the reference.
    pub fn is_peer(self) -> bool {
        matches!(self, Self::KvIndex | Self::DynamoCompressed | Self::DynamoPositional | Self::Smg)
    }
}
