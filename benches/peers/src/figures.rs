//! What one process measures of one system on one workload, and passes on as JSON.

use serde::{Deserialize, Serialize};

/// The output of one process.
#[derive(Debug, Serialize, Deserialize)]
pub struct Outcome {
    pub figures: Figures,
    /// A digest of every answer, in the order of the requests.
    pub answers: Vec<u64>,
}

/// Everything that is measured, in the units of the names. Times include what the harness itself costs, which only the
/// null system shows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Figures {
    pub requests: f64,
    pub event_blocks: f64,
    pub held_blocks: f64,
    pub distinct_blocks: f64,
    /// Lookups between writes that read out every worker's depth.
    pub lookup_ns: Latency,
    /// Lookups between writes that read out the deepest workers only.
    pub best_ns: Latency,
    /// The mean of lookups that read out every worker's depth, one query right after the other.
    pub back_to_back_ns: f64,
    /// Wall time from the first event handed over until a flush returns, over all events.
    pub apply_ns_per_block: f64,
    /// The same for the median of the chunks in which events are handed over. It leaves out the growth of tables, and
    /// most of the other load on the machine.
    pub apply_p50_ns_per_block: f64,
    /// As `apply_ns_per_block`, for the shortest stream that builds the final state.
    pub build_ns_per_block: f64,
    pub build_ms: f64,
    pub heap_bytes: f64,
    pub bytes_per_held_block: f64,
    pub bytes_per_distinct_block: f64,
    /// The peak of the resident set while the events were applied, less what the workload itself takes.
    pub peak_rss_bytes: f64,
    /// Where events are applied on another core, what happens meanwhile.
    pub beside: Option<Beside>,
}

/// A core that applies events, and one that feeds it and looks up.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Beside {
    /// The share of the feeding thread's time, at full speed, in which it hands events over. Where queues are bounded,
    /// it waits for room most of the time.
    pub held_back: f64,
    /// How old answers are while events come at half the rate that the system can apply.
    pub staleness_us: Option<Staleness>,
    /// How old answers are while events come at full speed.
    pub staleness_full_us: Option<Staleness>,
    /// Lookups while events come at half that rate.
    pub lookup_ns: Latency,
}

/// The age of answers; absent if no marker was ever seen.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Staleness {
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
    pub markers: f64,
}

/// The distribution of single times.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Latency {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
    pub mean: f64,
}

impl Latency {
    /// Computes exact quantiles (nearest rank) of `samples`; all are zero if there are no samples.
    pub fn of(samples: &mut [u64]) -> Self {
        samples.sort_unstable();
        let at = |quantile: f64| {
            let rank = (quantile * samples.len() as f64).ceil() as usize;
            samples.get(rank.saturating_sub(1)).map_or(0.0, |&sample| sample as f64)
        };
        let mean = samples.iter().sum::<u64>() as f64 / samples.len().max(1) as f64;
        Self { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: at(1.0), mean }
    }
}
