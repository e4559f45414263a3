//! Concurrency: a writer and two readers of one shard, to the microsecond.

mod collect;
mod draw;

use serde::{Deserialize, Serialize};

pub(super) use collect::collect;
pub(super) use draw::{caption, draw};

/// An excerpt of a run, and what all of it was like. Times are nanoseconds since the excerpt began.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Timeline {
    /// How long the excerpt is.
    pub length_ns: u64,
    /// Lookups in the excerpt that began while the writer was at work: it is the excerpt with the most of them, for the
    /// reader that has fewest.
    pub beside: u64,
    /// The threads could run on so many cores.
    pub cores: u32,
    /// Activity the writer did.
    pub writer: Vec<Work>,
    /// By reader.
    pub readers: Vec<Vec<Lookup>>,
    /// The whole run.
    pub run: Totals,
}

/// One thing that the writer did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// When it began.
    pub from_ns: u64,
    /// When it was done.
    pub to_ns: u64,
    /// Activity it was.
    pub what: Activity,
}

/// Activity a writer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activity {
    /// Applies an event that names so many blocks.
    Apply(u64),
    /// Publishes the snapshot of this generation.
    Publish(u64),
}

/// A lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lookup {
    /// When it was called.
    pub from_ns: u64,
    /// When it had its answer.
    pub to_ns: u64,
    /// The generation of the snapshot that it saw.
    pub generation: u64,
    /// The events that this snapshot showed.
    pub events: u64,
}

/// Activity a whole run was like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// How long it took.
    pub length_ns: u64,
    /// Events applied.
    pub events: u64,
    /// Publications.
    pub publications: u64,
    /// Lookups.
    pub lookups: u64,
    /// The time of the middle one, from call to answer.
    pub lookup_p50_ns: u64,
    /// The time of the longest one.
    pub lookup_max_ns: u64,
    /// Lookups that began while an event was being applied or a snapshot published, and the time of the middle one.
    pub beside: u64,
    /// The time of the middle one of these.
    pub beside_p50_ns: u64,
    /// Lookups that saw an older generation than the one before, of the same reader.
    pub backwards: u64,
}
