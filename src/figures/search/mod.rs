//! Jump search: every place that a lookup looks at, and those that a scan would.

mod collect;
mod draw;

use serde::{Deserialize, Serialize};

pub(super) use collect::collect;
pub(super) use draw::{caption, draw};

use crate::index::Probe;

/// One lookup, place by place, and how it compares with others.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Search {
    /// Blocks of the query.
    pub query: u32,
    /// How many leading blocks the deepest worker holds.
    pub depth: u32,
    /// What the lookup looked at, in order.
    pub probes: Vec<Probe>,
    /// Places that a scan from the root looks at: one a block, up to the first that nobody holds.
    pub scan: u32,
    /// The lookups that it was chosen from: how many there were.
    pub lookups: u64,
    /// Places that half of them look at, or fewer.
    pub probes_p50: u32,
    /// The most that any looks at.
    pub probes_max: u32,
    /// Places that a scan of the same queries looks at: for half of them, or fewer.
    pub scan_p50: u32,
    /// Blocks that were held, each worker's counted.
    pub held_blocks: u64,
}
