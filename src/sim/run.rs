//! Running an experiment: every policy in every cell, on the same requests.

use super::play::Simulation;
use super::workload::Requests;
use super::{Cell, Experiment, Options, PolicyReport, Report, SimError};

/// How far an experiment has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Requests finished or rejected, over all policies and cells.
    pub done: u64,
    /// All requests.
    pub total: u64,
    /// The policy that is being played.
    pub policy: &'static str,
}

/// Simulates every policy in every cell of the experiment, one after another.
///
/// All checks are made before the first policy is played. Memory grows with the requests and with what the engines
/// cache, but not with the number of policies or cells. Calls `progress` after every request.
///
/// # Errors
/// [`SimError`] if an option is out of range, the trace cannot be read, or a request does not fit into a worker.
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
    let (mut places, mut reports) = (Vec::new(), Vec::new());
    for (at, options) in &cells {
        let first = reports.len();
        let requests = prepare(&mut prepared, options)?;
        for &policy in &options.policies {
            let simulation = Simulation::new(options, requests, policy)?;
            let report = simulation.play(|over| progress(Progress { done: done + over, total, policy }));
            done += requests.len() as u64;
            reports.push(PolicyReport { at: at.clone(), ..report });
        }
        places.push(Cell::new(at.clone(), options.setting(requests.len() as u64)?, &reports[first..]));
    }
    Ok(Report { experiment: experiment.name.clone(), axes: experiment.axes(), cells: places, policies: reports })
}

/// Returns the requests for these options. Generates them, unless the previous ones were for equal options.
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
