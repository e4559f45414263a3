//! What an analysis finds.

use serde::Serialize;

use super::{Arrivals, Curve, Histogram, Metrics, Sessions, Window};

/// What a trace is like.
#[derive(Clone, Debug, Serialize)]
pub struct Analysis {
    /// The name of the trace.
    pub file: String,
    /// Rows.
    pub requests: u64,
    /// Distinct ids.
    pub unique_hash_ids: u64,
    /// Those that occur more than once.
    pub repeated_hash_ids: u64,
    /// Ids of all rows.
    pub blocks: u64,
    /// Those that an earlier row had, with their whole prefix.
    pub hit_blocks: u64,
    /// `hit_blocks / blocks`, 0 if there is none: what an infinite cache hits. [`Metrics`] has the mean over rows.
    pub block_weighted_hit_rate: f64,
    /// Rows whose last id has no token: a sign that the block size is too large. Where there are some, unique
    /// prompt lengths may be negative.
    pub rows_with_spare_ids: u64,
    /// Lengths and hit rates of requests.
    pub metrics: Metrics,
    /// Histograms of the lengths of prompts and answers.
    #[serde(skip)]
    pub histograms: Vec<Histogram>,
    /// Hit rate by cache size, for each of [`Options::workers`].
    pub curves: Vec<Curve>,
    /// How requests arrive.
    pub arrivals: Arrivals,
    /// [`Options::window_ms`].
    pub window_ms: u64,
    /// The working set over time: stretches of `window_ms` that have a request.
    pub windows: Vec<Window>,
    /// Sessions, if there are any.
    pub sessions: Option<Sessions>,
}
