//! Event density: KV events per worker over time.

mod collect;
mod draw;
mod record;

use serde::{Deserialize, Serialize};

pub(super) use collect::collect;
pub(super) use draw::{caption, draw};

/// KV events per worker over time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Density {
    /// The workload.
    pub source: String,
    /// The unit of time.
    pub clock: TimeUnit,
    /// Width of a column in that unit.
    pub step: f64,
    /// Ids and ranks of the workers, ascending.
    pub workers: Vec<(u64, u32)>,
    /// Requests that were looked up.
    pub requests: u64,
    /// Number of events.
    pub events: u64,
    /// The cells in which anything happened, by column and then by worker.
    pub cells: Vec<Cell>,
}

/// The unit of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimeUnit {
    /// Seconds on the virtual clock.
    Seconds,
    /// Requests so far, for a record, which has no times.
    Requests,
}

/// The events of a worker in one column of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// Number of the column, from 0.
    pub column: u32,
    /// Place of the worker in the list.
    pub worker: u32,
    /// Blocks stored.
    pub stored: u64,
    /// Blocks removed.
    pub removed: u64,
    /// Blocks that the worker held when it cleared its cache.
    pub cleared: u64,
}

impl Density {
    /// Returns the total of blocks stored, removed and cleared.
    pub fn totals(&self) -> [u64; 3] {
        let sum = |of: fn(&Cell) -> u64| self.cells.iter().map(of).sum();
        [sum(|cell| cell.stored), sum(|cell| cell.removed), sum(|cell| cell.cleared)]
    }

    /// Returns how often a cache that was not empty was cleared. Twice in one column counts once.
    pub fn clearings(&self) -> u64 {
        self.cells.iter().filter(|cell| cell.cleared > 0).count() as u64
    }
}
