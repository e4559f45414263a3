//! Event density: blocks stored, removed and cleared, by time and worker.

mod collect;
mod draw;
mod record;

use serde::{Deserialize, Serialize};

pub(super) use collect::collect;
pub(super) use draw::{caption, draw};

/// What workers said, by time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Density {
    /// What was played.
    pub source: String,
    /// What the columns count.
    pub clock: TimeUnit,
    /// How much of that is in a column.
    pub step: f64,
    /// Ids and ranks, ascending.
    pub workers: Vec<(u64, u32)>,
    /// Requests that were looked up.
    pub requests: u64,
    /// Events.
    pub events: u64,
    /// Where anything happened, by column and then by worker.
    pub cells: Vec<Cell>,
}

/// What time is measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimeUnit {
    /// Seconds on the virtual clock.
    Seconds,
    /// Requests so far: a record has no times.
    Requests,
}

/// What a worker said in one column of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// The column, from 0.
    pub column: u32,
    /// The worker, by its place in the list.
    pub worker: u32,
    /// Blocks stored.
    pub stored: u64,
    /// Blocks removed.
    pub removed: u64,
    /// Blocks that it held when it said that its cache was cleared.
    pub cleared: u64,
}

impl Density {
    /// Blocks stored, removed and cleared in all.
    pub fn totals(&self) -> [u64; 3] {
        let sum = |of: fn(&Cell) -> u64| self.cells.iter().map(of).sum();
        [sum(|cell| cell.stored), sum(|cell| cell.removed), sum(|cell| cell.cleared)]
    }

    /// How often a cache was cleared that was not empty; clearing twice in one column counts once.
    pub fn clearings(&self) -> u64 {
        self.cells.iter().filter(|cell| cell.cleared > 0).count() as u64
    }
}
