//! Jump search: every probe of a lookup, compared with a scan.

mod collect;
mod draw;

use serde::{Deserialize, Serialize};

pub(super) use collect::collect;
pub(super) use draw::{caption, draw};

use crate::index::Probe;

/// One lookup, probe by probe, and how it compares with others.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Search {
    /// Blocks of the query.
    pub query: u32,
    /// How many leading blocks the deepest worker holds.
    pub depth: u32,
    /// The probes of the lookup, in order.
    pub probes: Vec<Probe>,
    /// Probes of a scan from the root: one for each block, up to the first that nobody holds.
    pub scan: u32,
    /// Number of lookups that it was chosen from.
    pub lookups: u64,
    /// Median number of probes of these lookups.
    pub probes_p50: u32,
    /// Most probes of any of them.
    pub probes_max: u32,
    /// Median number of probes of scans for the same queries.
    pub scan_p50: u32,
    /// Blocks held by the index, counted for each worker.
    pub held_blocks: u64,
}
