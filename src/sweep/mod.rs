//! Finding how much load a backend can take: what a fleet would say is worked out once on a virtual clock, as a
//! [`Schedule`] of lookups and events, and then played against one backend after another.
//!
//! A [`Partition`] makes the schedule. [`run`] plays its second half (a [`Load`]) at rising rates, one [`Trial`] at a
//! time, each in a process of its own, until the threshold of each backend is found; [`figure`] draws the [`Report`].
//!
//! # What is measured
//! A trial is an open loop: every operation has a deadline, set before the trial begins, and a backend that is slow
//! finds its work waiting. The trial is over when every lookup has its answer and every event is visible, which includes
//! draining the queues; rates are by that time. A backend takes a load when all of it was issued within
//! [1.01](Trial::VALID) windows, completed within [1.10](Trial::KEPT_UP), and no more than [5%](Trial::LEFT) of the
//! events (or [16](Trial::FEW)) were still waiting when the window ended. Operations are lookups and events; block
//! operations are the blocks that they name: of queries (all of them, however few a search looks at), stored, and
//! removed.
//!
//! A machine that does other work at the same time makes trials fail. Every trial says what share of the cores others
//! took; one that failed beside more than [5%](Trial::OTHERS) counts for nothing and is repeated a few times.
//!
//! Answers are compared in a pass of their own, so that nothing that is timed differs from what ships.

#![allow(clippy::cast_sign_loss)] // times, ranks and counts are not negative

mod answers;
mod backend;
mod error;
mod figure;
mod load;
mod options;
mod others;
mod partition;
mod play;
mod player;
mod process;
mod report;
mod schedule;
mod search;
mod threads;
mod trial;
mod wire;

use std::time::{Duration, Instant};

pub use answers::{Answers, check};
pub use backend::System;
pub use error::SweepError;
pub use figure::figure;
pub use load::Load;
pub use options::Options;
pub use partition::{Partition, PartitionError};
pub use play::play;
pub use process::{Job, Launcher, Reply, perform};
pub use report::{BackendReport, Machine, Report, Workload};
pub use schedule::{Op, Schedule, ScheduleError, What};
pub use threads::Threads;
pub use trial::{Quantiles, Spec, Trial};

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
    let plan = options.plan(total);
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
        let found = plan.search(|rate| {
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

/// Nanoseconds in a duration.
fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
