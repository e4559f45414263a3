//! The result of an analysis.

use serde::Serialize;

use super::{Arrivals, Curve, Histogram, Metrics, Sessions, Window};

/// The result of an analysis.
#[derive(Clone, Debug, Serialize)]
pub struct Analysis {
    /// The name of the trace.
    pub file: String,
    /// Number of rows.
    pub requests: u64,
    /// Number of distinct ids.
    pub unique_hash_ids: u64,
    /// Distinct ids that occur more than once.
    pub repeated_hash_ids: u64,
    /// Ids of all rows, repetitions included.
    pub blocks: u64,
    /// Ids that an earlier row had, too.
    pub hit_blocks: u64,
    /// `hit_blocks / blocks`, which is what an infinite cache hits; `None` if there is no block. [`Metrics`] has the
    /// mean over rows.
    pub block_weighted_hit_rate: Option<f64>,
    /// Lengths and hit rates of requests.
    pub metrics: Metrics,
    /// Histograms of the lengths of prompts and answers.
    #[serde(skip)]
    pub histograms: Vec<Histogram>,
    /// Hit rate by cache size, for each of [`Options::workers`](super::Options::workers); empty if there is no block.
    pub curves: Vec<Curve>,
    /// How requests arrive.
    pub arrivals: Arrivals,
    /// Length of a window, as in [`Options::window_ms`](super::Options::window_ms).
    pub window_ms: u64,
    /// The working set over time: windows of `window_ms` that have a request.
    pub windows: Vec<Window>,
    /// Statistics of the sessions, if the trace names any.
    pub sessions: Option<Sessions>,
}

impl Analysis {
    /// Returns the windows that are whole. The trace ends within the last one, and begins within the first one unless that
    /// begins at 0, so their working sets are those of shorter times.
    pub fn whole_windows(&self) -> &[Window] {
        match self.windows.split_last() {
            Some((_, [first, rest @ ..])) if first.start_ms > 0 => rest,
            Some((_, rest)) => rest,
            None => &[],
        }
    }
}
