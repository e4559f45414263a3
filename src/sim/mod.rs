//! A fleet of [simulated engines](crate::mock) behind a [router](crate::route) and this index, on one virtual clock.
//!
//! An [`Experiment`] plays the same requests for every policy: each is looked up in the index, sent where the policy
//! says, and served by an engine with a block pool and continuous batching, whose events update the index. Events can be
//! late, lost or doubled, and workers can die, join and slow down: see [`World`]. Nothing depends on threads or on the
//! real clock: equal options and seeds give equal reports.
//!
//! ```
//! use kvleap::sim::{Experiment, Options, Workload, run};
//!
//! let workload = Workload { requests: Some(500), ..Workload::default() };
//! let options = Options { workload, policies: vec!["round-robin", "longest-prefix"], ..Options::default() };
//! let report = run(&Experiment::new("compare", options, [])?, |_| {})?;
//! let [even, deepest] = &report.policies[..] else { panic!("two policies") };
//! assert!(deepest.block_hit_rate > even.block_hit_rate);
//! # Ok::<(), kvleap::sim::SimError>(())
//! ```
//!
//! # Sessions
//! Where the workload knows sessions and they are [closed](Sessions::Closed), the next request of a session comes when
//! the one before is answered or rejected, after the time that lies between the two in the workload. A policy that
//! answers sooner is then asked sooner; the requests are the same for all. A prompt that goes on with the whole prompt
//! before it is taken to contain its answer, and finds the answer's blocks where that was computed.
//!
//! # What it leaves out
//! The time that a decision takes, the network between client, router and worker, transfers of blocks between workers,
//! and storage tiers.

mod clock;
mod error;
mod experiment;
mod member;
mod options;
pub mod page;
mod play;
mod report;
mod tally;
mod workload;
mod world;

pub use error::SimError;
pub use experiment::{Dimension, Experiment, Vary};
pub use options::{Knowledge, Options};
pub use report::{
    Bins, Blocks, Events, ExperimentAxis, Interval, PolicyReport, PredictionAccuracy, Report, Setting, Times,
};
pub use workload::{Bursts, Mix, Sessions, Source, Traffic, Workload};
pub use world::{Change, Incident, World};

use play::Simulation;
use workload::Requests;

/// How far an experiment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Requests over, of all policies and cells.
    pub done: u64,
    /// Requests in all.
    pub total: u64,
    /// What is played.
    pub policy: &'static str,
}

/// Simulates every policy in every cell of the experiment, one after another.
///
/// Whatever is wrong is found before the first is played. Memory grows with the requests and with what the engines
/// cache, not with the number of policies or cells. `progress` is told after every request.
///
/// # Errors
/// Options that cannot be, a trace that cannot be read, a request that does not fit a worker.
pub fn run(experiment: &Experiment, mut progress: impl FnMut(Progress)) -> Result<Report, SimError> {
    let cells = experiment.cells()?;
    let mut prepared = None;
    let mut requests_in_all = Vec::new();
    for (_, options) in &cells {
        requests_in_all.push(prepare(&mut prepared, options)?.len() as u64);
    }
    let policies = experiment.options.policies.len() as u64;
    let total = requests_in_all.iter().sum::<u64>() * policies;
    let mut done = 0;
    let mut reports = Vec::new();
    for (at, options) in &cells {
        let requests = prepare(&mut prepared, options)?;
        for &policy in &options.policies {
            let simulation = Simulation::new(options, requests, policy)?;
            let report = simulation.play(|over| progress(Progress { done: done + over, total, policy }));
            done += requests.len() as u64;
            reports.push(PolicyReport { at: at.clone(), ..report });
        }
    }
    Ok(Report {
        experiment: experiment.name.clone(),
        setting: experiment.options.setting(requests_in_all.first().copied().unwrap_or(0))?,
        axes: experiment.axes(),
        policies: reports,
    })
}

/// The requests for these options, made anew if those at hand were for others.
fn prepare<'a>(prepared: &'a mut Option<(Options, Requests)>, options: &Options) -> Result<&'a Requests, SimError> {
    let (at_hand, requests) = match prepared.take() {
        Some((before, requests)) if options.asks_as(&before) => (before, requests),
        _ => (options.clone(), options.workload.requests(options.block_size, options.workers, options.seed)?),
    };
    let capacity = options.engine()?.0.blocks;
    if let Some((request, blocks)) = requests.longest().filter(|&(_, blocks)| blocks > capacity.into()) {
        return Err(SimError::TooLong { request, blocks, capacity });
    }
    Ok(&prepared.insert((at_hand, requests)).1)
}
