//! The report of a sweep.

use std::fs;

use serde::{Deserialize, Serialize};

use super::threshold::Threshold;
use super::{Answers, Load, Options, Quantiles, System, Trial, What};

/// What a sweep found. Its JSON is what `kvleap sweep --out` writes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// The version of the format, [`Report::VERSION`].
    pub version: u32,
    /// Where it was measured.
    pub machine: Machine,
    /// What was played.
    pub workload: Workload,
    /// The settings of the sweep.
    pub options: Options,
    /// Whether the sweep ended before all backends were measured.
    #[serde(default)]
    pub interrupted: bool,
    /// What was found for each backend. If the sweep was interrupted, backends are missing, or the last one is incomplete.
    pub backends: Vec<BackendReport>,
    /// The seconds that the sweep took.
    pub seconds: f64,
}

impl Report {
    /// Returns the share of the cores' time that other processes took, 0 to 1, on average over all trials; `None` where
    /// the system does not say.
    pub fn others(&self) -> Option<f64> {
        let shares: Vec<f64> = self.backends.iter().flat_map(|b| &b.trials).filter_map(|trial| trial.others).collect();
        (!shares.is_empty()).then(|| shares.iter().sum::<f64>() / shares.len() as f64)
    }

    /// The version of the format that is written.
    pub const VERSION: u32 = 1;
}

/// The machine of a sweep.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name; `None` where the system does not say.
    pub cpu: Option<String>,
    /// The cores that this process may use.
    pub cores: usize,
    /// The operating system and the architecture.
    pub system: String,
    /// The version of this crate.
    pub kvleap: String,
}

impl Machine {
    pub(super) fn this() -> Self {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let name = info.lines().find_map(|line| line.strip_prefix("model name"));
        let cpu = name.map(|name| name.trim_start_matches([' ', '\t', ':']).to_owned());
        Self {
            cpu,
            cores: super::threads::cores().len(),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            kvleap: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// The workload of a sweep.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Workload {
    /// The file name of the trace or schedule, or `built-in`.
    pub source: String,
    /// Tokens in a block.
    pub block_size: u32,
    /// Workers in the fleet.
    pub workers: u32,
    /// Blocks that each worker's cache has room for.
    pub blocks_per_worker: u64,
    /// Blocks held when a trial begins, summed over the workers.
    pub held_blocks: u64,
    /// Operations of the load, of which a trial plays the first ones or all.
    pub operations: u64,
    /// Operations that are lookups.
    pub lookups: u64,
    /// Blocks that the operations name.
    pub block_operations: u64,
    /// Block operations that are blocks of queries.
    pub query_blocks: u64,
    /// Block operations that are removed blocks.
    pub removed_blocks: u64,
}

impl Workload {
    /// Describes a load: its source, the fleet's block size, workers and blocks per worker, and counts of its operations.
    pub fn new(source: String, (block_size, workers, blocks_per_worker): (u32, u32, u64), load: &Load) -> Self {
        let count = |of: fn(&What) -> u64| load.ops.iter().map(|op| of(&op.what)).sum();
        let removed = |what: &What| match what {
            What::Event(event) if matches!(event.data, crate::EventData::Removed { .. }) => what.blocks(),
            _ => 0,
        };
        let query = |what: &What| if matches!(what, What::Lookup(_)) { what.blocks() } else { 0 };
        Self {
            source,
            block_size,
            workers,
            blocks_per_worker,
            held_blocks: load.held(),
            operations: load.ops.len() as u64,
            lookups: count(|what| matches!(what, What::Lookup(_)).into()),
            block_operations: count(What::blocks),
            query_blocks: count(query),
            removed_blocks: count(removed),
        }
    }
}

/// What a sweep found for one backend.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BackendReport {
    /// The backend.
    pub name: System,
    /// Whether the sweep ended before the threshold was found.
    #[serde(default)]
    pub interrupted: bool,
    /// The threshold in block operations per second: the highest rate that it took several times in a row; `None` if even
    /// the lowest rate was too much, or if the sweep was interrupted.
    pub threshold_block_ops_per_s: Option<f64>,
    /// The same in operations per second.
    pub threshold_ops_per_s: Option<f64>,
    /// Whether the threshold is the highest rate that this load could measure; the real one may be higher.
    pub threshold_is_a_bound: bool,
    /// Lookup times from call to answer in the trial at the threshold with the median p99, or in the first trial if there
    /// is no threshold; `None` if no lookup was issued in it.
    pub lookup_ns: Option<Quantiles>,
    /// Lookup times from deadline to answer in the same trial.
    pub response_ns: Option<Quantiles>,
    /// Times from handing an event over to its visibility in the same trial; `None` for a backend that holds nothing,
    /// and if no marker was handed over.
    pub staleness_us: Option<Quantiles>,
    /// Wrong answers to lookups of the load.
    pub wrong_answers: u64,
    /// How many answers were compared, and how many were wrong.
    pub answers: Answers,
    /// All trials, in the order in which they were played.
    pub trials: Vec<Trial>,
}

impl BackendReport {
    /// Returns the number of wrong answers, those on collisions included.
    pub fn wrong(&self) -> u64 {
        self.answers.wrong + self.answers.collisions_wrong
    }

    /// Describes a search that found a threshold, or was interrupted; `None` if that was in its first trial.
    pub(super) fn new(name: System, found: Option<&Threshold>, answers: Answers, trials: Vec<Trial>) -> Option<Self> {
        let rate = found.and_then(|found| found.rate);
        let near = |trial: &&Trial, rate: f64| (trial.offered_block_ops / rate - 1.0).abs() < 0.001;
        let mut at: Vec<&Trial> = match rate {
            Some(rate) => trials.iter().filter(|trial| near(trial, rate) && trial.passes()).collect(),
            None => trials.iter().take(1).collect(),
        };
        let p99 = |trial: &Trial| trial.lookup_ns.map_or(0.0, |time| time.p99);
        at.sort_by(|a, b| p99(a).total_cmp(&p99(b)));
        let typical = *at.get(at.len() / 2)?;
        Some(Self {
            name,
            interrupted: found.is_none(),
            threshold_block_ops_per_s: rate,
            threshold_ops_per_s: rate.map(|_| typical.offered_ops),
            threshold_is_a_bound: found.is_some_and(|found| found.is_a_bound),
            lookup_ns: typical.lookup_ns,
            response_ns: typical.response_ns,
            staleness_us: typical.staleness_us,
            wrong_answers: answers.wrong,
            answers,
            trials,
        })
    }
}
