//! The sweep itself: backend by backend, first the answers, then the threshold.

use std::time::Instant;

use super::{BackendReport, Job, Load, Machine, Options, Reply, Report, SweepError, System, Workload};

/// How far a sweep is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// The backend at hand.
    pub system: System,
    /// Its trials so far, with the one that begins.
    pub trial: u32,
    /// The rate of that, in block operations per second; `None` while answers are compared.
    pub rate: Option<f64>,
    /// How much of the sweep is done, of a thousand. An estimate: how many trials a backend needs is known at the end.
    pub thousandths: u64,
}

/// Finds the threshold of every backend that `options` name.
///
/// `launch` does one [`Job`] with `load`, in a process of its own ([`Launcher`]) or not. `progress` is told before each.
///
/// # Errors
/// Options that cannot be, and what `launch` says.
pub fn run(
    load: &Load,
    workload: Workload,
    options: &Options,
    mut launch: impl FnMut(&Job) -> Result<Reply, SweepError>,
    mut progress: impl FnMut(&Progress),
) -> Result<Report, SweepError> {
    options.check()?;
    let blocks = load.blocks();
    let total = *blocks.last().unwrap_or(&0);
    let begin = Instant::now();
    let search = options.search(total);
    let mut backends = Vec::new();
    for (number, &system) in (0..).zip(&options.systems) {
        let mut trials = Vec::new();
        let share = |trials: usize| {
            // Of a search that is half done after a dozen trials, and never quite.
            let part = trials as f64 / (trials as f64 + 12.0);
            (1000.0 * (f64::from(number) + part) / options.systems.len() as f64) as u64
        };
        progress(&Progress { system, trial: 0, rate: None, thousandths: share(0) });
        let answers = launch(&Job::Answers { system, budget: options.answers })?.answers(system)?;
        let begin = Instant::now();
        let found = search.run(|rate| {
            progress(&Progress {
                system,
                trial: trials.len() as u32 + 1,
                rate: Some(rate),
                thousandths: share(trials.len()),
            });
            let trial = launch(&Job::Trial(options.spec(system, &blocks, rate)))?.trial(system)?;
            trials.push(trial.clone());
            Ok((trial, begin.elapsed() < options.patience))
        })?;
        backends.push(BackendReport::new(system, &found, answers, trials));
    }
    let seconds = begin.elapsed().as_secs_f64();
    Ok(Report {
        version: Report::VERSION,
        machine: Machine::this(),
        workload,
        options: options.clone(),
        backends,
        seconds,
    })
}
