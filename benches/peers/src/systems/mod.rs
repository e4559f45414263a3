//! What is measured: one small trait, and one file per crate behind it.
//!
//! A system is opened as two halves because most peers distinguish them, and because the two-thread measurement needs
//! one on each thread. What a caller would have in hand anyway (an event in the system's own type, a query in its
//! hash type) is made by [`Writer::encode`] and [`Reader::query`], outside the clock.

mod dynamo;
mod kv_index;
mod kvleap;
mod null;
mod reference;
mod smg;

use std::hint::black_box;

pub use self::dynamo::{Compressed, Positional};
pub use self::kv_index::KvIndex;
pub use self::kvleap::{Direct, Kvleap};
pub use self::null::Null;
pub use self::reference::Literal;
pub use self::smg::Smg;

/// What a system may know before the first event.
#[derive(Clone, Copy, Debug)]
pub struct Fleet {
    /// Workers are numbered below this.
    pub workers: u32,
    /// Tokens per block.
    pub block_size: u32,
}

/// An index under test.
pub trait System {
    type Writer: Writer;
    type Reader: Reader;

    fn open(fleet: Fleet) -> (Self::Writer, Self::Reader);
}

/// The half that is told what workers say.
pub trait Writer: Send {
    /// An event as the system takes it. Owned, so that handing over and freeing it cost everyone alike.
    type Event: Send;

    fn encode(&self, event: ::kvleap::Event) -> Self::Event;

    /// Hands `event` over. Whether it is applied on return is the system's business.
    fn apply(&mut self, event: Self::Event);

    /// Returns when lookups see everything handed over.
    fn flush(&mut self);
}

/// The half that is asked.
pub trait Reader: Send {
    /// A query as the system takes it.
    type Query: Send;

    fn query(&self, hashes: &[u64]) -> Self::Query;

    /// Reports the depth of every worker that holds the query's first block, each once.
    fn all(&mut self, query: &Self::Query, report: impl FnMut(u32, u32));

    /// The cheapest way to the deepest workers; by default through all of them.
    fn best(&mut self, query: &Self::Query) -> Best {
        let mut best = Best::default();
        self.all(query, |worker, depth| best.offer(worker, depth));
        black_box(best)
    }
}

/// The deepest workers of an answer, in a form that compares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Best {
    pub depth: u32,
    /// How many workers hold that much, and the sum of their numbers.
    pub workers: u32,
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

/// The systems by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Name {
    /// Ours, through `Index` and its writer thread.
    Kvleap,
    /// Ours once more: what differs between the two is noise.
    KvleapAgain,
    /// Ours, applied on the caller's thread.
    KvleapDirect,
    KvIndex,
    DynamoCompressed,
    DynamoPositional,
    Smg,
    /// The harness alone.
    Null,
    /// The contract word for word. Small runs only.
    Reference,
}

impl Name {
    /// As the command line spells it.
    pub fn text(self) -> &'static str {
        match self {
            Self::Kvleap => "kvleap",
            Self::KvleapAgain => "kvleap-again",
            Self::KvleapDirect => "kvleap-direct",
            Self::KvIndex => "kv-index",
            Self::DynamoCompressed => "dynamo-compressed",
            Self::DynamoPositional => "dynamo-positional",
            Self::Smg => "smg",
            Self::Null => "null",
            Self::Reference => "reference",
        }
    }

    /// Whether the system promises the exact depths of every worker. Answers of those that do not are counted, not
    /// condemned.
    pub fn is_exact(self) -> bool {
        !matches!(self, Self::DynamoCompressed | Self::DynamoPositional | Self::Null)
    }

    /// Whether this is a crate to compare with, rather than ours or a yardstick.
    pub fn is_peer(self) -> bool {
        matches!(self, Self::KvIndex | Self::DynamoCompressed | Self::DynamoPositional | Self::Smg)
    }
}
