//! The report of a simulation. All times are on the virtual clock; equal options and seeds give equal reports.

use serde::Serialize;

/// What was simulated, and the results.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Name of the experiment; `compare` for a plain comparison.
    pub experiment: String,
    /// What was varied, outermost first; empty if nothing was.
    pub axes: Vec<ExperimentAxis>,
    /// Every combination of the varied values, in the order of the axes; one cell if nothing was varied.
    pub cells: Vec<Cell>,
    /// The results of each policy in each cell: cells in the order above, policies in the order of the options.
    pub policies: Vec<PolicyReport>,
}

impl Report {
    /// The means of policies that differ by less than this share are a tie.
    pub const TIE: f64 = 0.02;

    /// Returns what a part of the setting is in the cells, each once, in their order: one value, unless it was varied.
    pub fn settings(&self, part: impl Fn(&Setting) -> String) -> Vec<String> {
        let mut values = Vec::new();
        for value in self.cells.iter().map(|cell| part(&cell.setting)) {
            if !values.contains(&value) {
                values.push(value);
            }
        }
        values
    }
}

/// A combination of the varied values.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cell {
    /// Its place on each axis, in their order.
    pub at: Vec<f64>,
    /// What was simulated there.
    pub setting: Setting,
    /// The policies with the shortest mean time to the first token, in the order of the options: several if they tie,
    /// see [`Report::TIE`]. Empty if there is only one policy, or no request was finished.
    pub fastest: Vec<String>,
}

impl Cell {
    pub(super) fn new(at: Vec<f64>, setting: Setting, policies: &[PolicyReport]) -> Self {
        let all: Vec<&PolicyReport> = policies.iter().collect();
        let fastest = if all.len() > 1 { fastest(&all) } else { Vec::new() };
        Self { at, setting, fastest: fastest.into_iter().map(|policy| policy.name.clone()).collect() }
    }
}

/// Returns the policies with the shortest mean time to the first token, of those that finished a request.
pub(super) fn fastest<'a>(policies: &[&'a PolicyReport]) -> Vec<&'a PolicyReport> {
    let served = || policies.iter().copied().filter(|policy| policy.finished > 0);
    let least = served().map(|policy| policy.ttft_ms.mean).fold(f64::INFINITY, f64::min);
    served().filter(|policy| policy.ttft_ms.mean <= least * (1.0 + Report::TIE)).collect()
}

/// What was simulated in a cell.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Setting {
    /// The traffic, as it is written on the command line.
    pub workload: String,
    /// How requests arrive.
    pub arrivals: String,
    /// Number of requests.
    pub requests: u64,
    /// Workers at the start.
    pub workers: u32,
    /// Model and accelerator of each worker.
    pub profile: String,
    /// Tokens in a block.
    pub block_size: u32,
    /// Blocks that each worker can cache.
    pub blocks_per_worker: u32,
    /// Number of models; worker `w` serves model `w % models`.
    pub models: u32,
    /// Adapters of each model, each with blocks of its own.
    pub adapters: u32,
    /// Failures and delays, one line each; empty if there are none.
    pub world: Vec<String>,
    /// Settings of the router, one line each.
    pub router: Vec<String>,
    /// Seed of everything random.
    pub seed: u64,
}

/// A setting that an experiment varies.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExperimentAxis {
    /// Its name on the command line: `block-size`, `workers`, `blocks`, `lag`, `temperature`, `rate`.
    pub name: String,
    /// Its unit: `tokens`, `workers`, `blocks`, `s`, `requests/s`; empty for a plain number.
    pub unit: String,
    /// What it is, in a sentence.
    pub about: String,
    /// Its values, in the given order.
    pub values: Vec<f64>,
}

/// The results of one policy in one cell.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PolicyReport {
    /// Name of the policy.
    pub name: String,
    /// Its place on each axis, in their order.
    pub at: Vec<f64>,
    /// Requests that arrived; each is finished or rejected in the end.
    pub requests: u64,
    /// Requests with a complete answer.
    pub finished: u64,
    /// Requests that no worker accepted, or under which too many workers died.
    pub rejected: u64,
    /// How often a request started again on another worker because its worker had died.
    pub retried: u64,
    /// Reused blocks per block asked for, 0 to 1.
    pub block_hit_rate: f64,
    /// Finished requests that reused a block, per finished request.
    pub request_hit_rate: f64,
    /// Blocks of prompts.
    pub blocks: Blocks,
    /// The reuse that the router expected, compared with the actual reuse.
    pub prediction: PredictionAccuracy,
    /// Time from arrival to the first token.
    pub ttft_ms: Times,
    /// The same, for requests that reused a block.
    pub ttft_hit_ms: Times,
    /// The same, for requests that reused none.
    pub ttft_miss_ms: Times,
    /// Time from arrival to the last token.
    pub latency_ms: Times,
    /// The same, for requests that reused a block.
    pub latency_hit_ms: Times,
    /// The same, for requests that reused none.
    pub latency_miss_ms: Times,
    /// Queue time: from arrival until a worker first computes a part of the request.
    pub queue_ms: Times,
    /// Busy time of the busiest worker over the mean of all workers, including those that joined or left; 1 is even.
    pub load_imbalance: f64,
    /// Standard deviation of the workers' busy times over their mean; 0 is even.
    pub load_cv: f64,
    /// Like `load_imbalance`, for requests served instead of busy time.
    pub requests_imbalance: f64,
    /// Like `load_cv`, for requests served instead of busy time.
    pub requests_cv: f64,
    /// Requests that each worker finished.
    pub requests_per_worker: Vec<u64>,
    /// Seconds for which each worker was busy.
    pub busy_s_per_worker: Vec<f64>,
    /// How often a request was preempted: lost its blocks to others and started again.
    pub preempted: u64,
    /// Blocks evicted.
    pub evicted_blocks: u64,
    /// Accelerator-seconds that computing the reused tokens would have taken, each request alone, by the latency model.
    pub prefill_saved_gpu_s: f64,
    /// Accelerator-seconds for which workers were busy.
    pub busy_gpu_s: f64,
    /// Seconds from the first arrival to the last answer.
    pub span_s: f64,
    /// What happened to the events of the workers.
    pub events: Events,
    /// Histogram of requests by reused blocks.
    pub match_blocks: Bins,
    /// Histogram of requests by latency, in milliseconds.
    pub latency_bins: Bins,
    /// The same, for requests that reused a block.
    pub latency_hit_bins: Bins,
    /// The same, for requests that reused none.
    pub latency_miss_bins: Bins,
    /// Reuse over time, by arrival, in the same intervals for all policies of a cell.
    pub over_time: Vec<Interval>,
}

/// Blocks of the prompts of finished requests, including a partial last block of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Blocks {
    /// Blocks of all prompts.
    pub asked: u64,
    /// Blocks that were in the cache of the worker when it first scheduled the request.
    pub reused: u64,
    /// Blocks that were computed. Without preemptions and deaths of workers, asked = reused + computed.
    pub computed: u64,
    /// Computed blocks that had been computed or found before, and were lost to a preemption or a death.
    pub recomputed: u64,
    /// Blocks that the router expected to be reused when it last decided.
    pub predicted: u64,
}

/// The reuse that the router expected of the worker it chose, compared with the actual reuse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct PredictionAccuracy {
    /// Requests that reused as many blocks as expected.
    pub exact: u64,
    /// Requests that reused fewer.
    pub over: u64,
    /// Requests that reused more.
    pub under: u64,
    /// Blocks expected and not found.
    pub over_blocks: u64,
    /// Blocks found and not expected.
    pub under_blocks: u64,
}

/// A distribution of times in milliseconds, with quantiles to three significant digits. All 0 if nothing was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Times {
    /// Number of times.
    pub count: u64,
    /// Exact mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Maximum.
    pub max: f64,
}

/// What happened to the events of the workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Events {
    /// Events published.
    pub said: u64,
    /// Events lost on the way.
    pub lost: u64,
    /// Events that arrived twice.
    pub duplicated: u64,
    /// Events that the index rejected.
    pub rejected: u64,
}

/// A histogram: `counts[i]` values lie in `edges[i]..edges[i + 1]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Bins {
    /// The edges, ascending; one more than there are counts.
    pub edges: Vec<f64>,
    /// The number of values between each two edges.
    pub counts: Vec<u64>,
}

/// The finished requests that arrived in an interval of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Interval {
    /// Start of the interval, in seconds from the first arrival.
    pub start_s: f64,
    /// Number of requests.
    pub requests: u64,
    /// Blocks of their prompts.
    pub asked: u64,
    /// Blocks of these that were reused.
    pub reused: u64,
}
