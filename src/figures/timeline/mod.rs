//! Concurrency: a writer and two readers of one shard, microsecond by microsecond.

mod collect;
mod draw;

use serde::{Deserialize, Serialize};

pub(super) use collect::collect;
pub(super) use draw::{caption, draw};

/// An excerpt of a run, and totals of the whole run. Times are nanoseconds since the start of the excerpt. What goes on
/// at one of its ends is a part of it: it has begun before 0, or ends after the excerpt.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Timeline {
    /// Length of the excerpt.
    pub length_ns: u64,
    /// Lookups in the excerpt that started while the writer was working. It is the excerpt with the most of them, for
    /// the reader with the fewest.
    pub beside: u64,
    /// Cores that the threads could run on.
    pub cores: u32,
    /// The tasks of the writer.
    pub writer: Vec<Work>,
    /// The lookups of each reader.
    pub readers: Vec<Vec<Lookup>>,
    /// Totals of the whole run.
    pub run: Totals,
}

/// A task of the writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// When it started.
    pub from_ns: i64,
    /// When it ended.
    pub to_ns: i64,
    /// What the writer did.
    pub what: Activity,
}

/// What a writer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activity {
    /// Applies an event that names this many blocks.
    Apply(u64),
    /// Publishes the snapshot of this generation.
    Publish(u64),
}

/// A lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lookup {
    /// When it was called.
    pub from_ns: i64,
    /// When it returned.
    pub to_ns: i64,
    /// The generation of the snapshot that it saw.
    pub generation: u64,
    /// The number of events that this snapshot reflects.
    pub events: u64,
}

/// Totals of a whole run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Length of the run.
    pub length_ns: u64,
    /// Events applied.
    pub events: u64,
    /// Number of publications.
    pub publications: u64,
    /// Number of lookups.
    pub lookups: u64,
    /// Median latency of lookups.
    pub lookup_p50_ns: u64,
    /// Longest latency of a lookup.
    pub lookup_max_ns: u64,
    /// Lookups that started while an event was being applied or a snapshot published.
    pub beside: u64,
    /// Median latency of these.
    pub beside_p50_ns: u64,
    /// Lookups that saw an older generation than the previous one of the same reader.
    pub backwards: u64,
}
