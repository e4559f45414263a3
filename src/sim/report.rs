//! What a simulation found. All times are on the virtual clock; equal options and seeds give equal reports.

use serde::Serialize;

/// What was simulated, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// What was asked for: `compare`, or the experiment's name.
    pub experiment: String,
    /// What was simulated, but for what the axes say.
    pub setting: Setting,
    /// What was varied, outermost first; empty where nothing was.
    pub axes: Vec<ExperimentAxis>,
    /// One entry for each policy of each cell; cells in the order of the axes, policies in the order asked for.
    pub policies: Vec<PolicyReport>,
}

/// What was simulated, in words and numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Setting {
    /// The traffic, as the command spells it.
    pub workload: String,
    /// How requests arrive.
    pub arrivals: String,
    /// Requests in all.
    pub requests: u64,
    /// Engines at the beginning.
    pub workers: u32,
    /// Model and accelerator of each.
    pub profile: String,
    /// Tokens in a block.
    pub block_size: u32,
    /// Blocks that each engine can cache.
    pub blocks_per_worker: u32,
    /// Different models; worker `w` serves model `w % models`.
    pub models: u32,
    /// Adapters of each model, each with blocks of its own.
    pub adapters: u32,
    /// What goes wrong, one line each; empty where nothing does.
    pub world: Vec<String>,
    /// Settings of the router, one line each.
    pub router: Vec<String>,
    /// What all that is drawn depends on.
    pub seed: u64,
}

/// Something that an experiment varies.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExperimentAxis {
    /// As the command spells it: `block-size`, `workers`, `blocks`, `lag`, `temperature`, `rate`.
    pub name: String,
    /// What it counts: `tokens`, `workers`, `blocks`, `s`, `requests/s`; empty for a plain number.
    pub unit: String,
    /// Its values, in the order given.
    pub values: Vec<f64>,
}

/// One policy on one fleet.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PolicyReport {
    /// The policy.
    pub name: String,
    /// Where on each axis, in their order.
    pub at: Vec<f64>,
    /// Requests that came; each is finished or rejected in the end.
    pub requests: u64,
    /// Requests answered to their end.
    pub finished: u64,
    /// Requests given up: no worker takes them, or too many workers died under them.
    pub rejected: u64,
    /// Times that a request began again elsewhere because its worker died.
    pub retried: u64,
    /// Reused blocks per block asked for, 0 to 1.
    pub block_hit_rate: f64,
    /// Finished requests that reused a block, per finished request.
    pub request_hit_rate: f64,
    /// Blocks of prompts.
    pub blocks: Blocks,
    /// What the router expected, against what was there.
    pub prediction: PredictionAccuracy,
    /// From arrival to the first token.
    pub ttft_ms: Times,
    /// Of those, the requests that reused a block.
    pub ttft_hit_ms: Times,
    /// And those that reused none.
    pub ttft_miss_ms: Times,
    /// From arrival to the last token.
    pub latency_ms: Times,
    /// Of those, the requests that reused a block.
    pub latency_hit_ms: Times,
    /// And those that reused none.
    pub latency_miss_ms: Times,
    /// From arrival until a worker first computed something of the request.
    pub queue_ms: Times,
    /// The busiest worker's time at work over the mean of all; 1 is even. Workers that joined or left count.
    pub load_imbalance: f64,
    /// Standard deviation of the workers' times at work over their mean; 0 is even.
    pub load_cv: f64,
    /// As `load_imbalance`, of requests served.
    pub requests_imbalance: f64,
    /// As `load_cv`, of requests served.
    pub requests_cv: f64,
    /// Requests that each worker finished.
    pub requests_per_worker: Vec<u64>,
    /// Seconds that each worker was at work.
    pub busy_s_per_worker: Vec<f64>,
    /// Times that a request lost its blocks to others, and began again.
    pub preempted: u64,
    /// Blocks evicted.
    pub evicted_blocks: u64,
    /// Accelerator-seconds that the reused tokens would have taken, each request alone, by the latency model.
    pub prefill_saved_gpu_s: f64,
    /// Accelerator-seconds at work.
    pub busy_gpu_s: f64,
    /// Seconds from the first arrival to the last answer.
    pub span_s: f64,
    /// What the workers said, and what of it arrived.
    pub events: Events,
    /// Requests by how many blocks they reused.
    pub match_blocks: Bins,
    /// Requests by latency, in milliseconds.
    pub latency_bins: Bins,
    /// Of those, the requests that reused a block.
    pub latency_hit_bins: Bins,
    /// And those that reused none.
    pub latency_miss_bins: Bins,
    /// What was reused over time, by arrival. The same intervals for every policy of a cell.
    pub over_time: Vec<Interval>,
}

/// Blocks of the prompts of finished requests, the last one of each counted if only partly full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Blocks {
    /// Asked for.
    pub asked: u64,
    /// Found in the worker's cache when it first came to the request.
    pub reused: u64,
    /// Computed. Without preemption and death of workers, asked = reused + computed.
    pub computed: u64,
    /// Of the computed ones, those that had been computed or found before, and were lost by preemption or death.
    pub recomputed: u64,
    /// Expected to be reused, by the router, when it last decided.
    pub predicted: u64,
}

/// What the router expected of the worker it chose, against what was reused, in blocks.
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

/// Milliseconds, the quantiles to three significant digits. All 0 where nothing was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Times {
    /// How many.
    pub count: u64,
    /// Their mean, exact.
    pub mean: f64,
    /// Half of them took no longer.
    pub p50: f64,
    /// 95% took no longer.
    pub p95: f64,
    /// 99% took no longer.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

/// What workers said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Events {
    /// Said.
    pub said: u64,
    /// Of those, lost on the way.
    pub lost: u64,
    /// Of those, arrived twice.
    pub duplicated: u64,
    /// Arrived, and the index could not apply them.
    pub rejected: u64,
}

/// A histogram: `counts[i]` lie in `edges[i]..edges[i + 1]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Bins {
    /// Ascending; one more than the counts.
    pub edges: Vec<f64>,
    /// How many lie between each two.
    pub counts: Vec<u64>,
}

/// The finished requests that arrived in a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Interval {
    /// When it begins, in seconds from the first arrival.
    pub start_s: f64,
    /// Requests.
    pub requests: u64,
    /// Blocks of their prompts.
    pub asked: u64,
    /// Of those, reused.
    pub reused: u64,
}
