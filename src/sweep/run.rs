//! The sweep itself: for each backend, first its answers, then its threshold.

use std::time::Instant;

use super::{BackendReport, Job, Load, Machine, Options, Reply, Report, SweepError, System, Workload};

/// How far a sweep has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// The backend that is being measured.
    pub system: System,
    /// The number of its trial that begins, from 1; 0 while answers are compared.
    pub trial: u32,
    /// The trial's rate in block operations per second; `None` while answers are compared.
    pub rate: Option<f64>,
    /// How much of the sweep is done, in thousandths. An estimate, since nobody knows how many trials a backend needs.
    pub thousandths: u64,
}

/// Finds the threshold of every backend that `options` name.
///
/// `launch` does one [`Job`] with `load`, in a process of its own, as a [`Launcher`](super::Launcher) does, or in this one. `progress` is
/// called before each job.
///
/// If `launch` is [interrupted](SweepError::Interrupted), the report has what was found until then, and says so.
///
/// # Errors
/// Invalid options, and the other errors of `launch`.
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
    let mut interrupted = false;
    for (number, &system) in (0..).zip(&options.systems) {
        let mut trials = Vec::new();
        let share = |trials: usize| {
            // A search is taken to be half done after a dozen trials, and never complete.
            let part = trials as f64 / (trials as f64 + 12.0);
            (1000.0 * (f64::from(number) + part) / options.systems.len() as f64) as u64
        };
        progress(&Progress { system, trial: 0, rate: None, thousandths: share(0) });
        let answers = match launch(&Job::Answers { system, budget: options.answers }) {
            Err(SweepError::Interrupted) => {
                interrupted = true;
                break;
            }
            answers => answers?.answers(system)?,
        };
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
        });
        match found {
            Err(SweepError::Interrupted) => {
                interrupted = true;
                backends.extend(BackendReport::new(system, None, answers, trials));
                break;
            }
            found => backends.extend(BackendReport::new(system, Some(&found?), answers, trials)),
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    Ok(Report {
        version: Report::VERSION,
        machine: Machine::this(),
        workload,
        options: options.clone(),
        interrupted,
        backends,
        seconds,
    })
}
