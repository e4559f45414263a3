//! Runs a very short sweep, or reads the report of a longer one.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::Throughput;
use crate::figures::{FiguresError, Options};
use crate::mock::Config;
use crate::sweep::{self, Launcher, Load, Partition, Report, Workload};

/// Enough load for a short window of the fastest backend.
const REQUESTS: u64 = 6_000;
const WORKERS: u32 = 32;
const BLOCKS: u32 = 4_096;

pub(in crate::figures) fn collect(
    options: &Options,
    progress: &mut dyn FnMut(f64),
) -> Result<Throughput, FiguresError> {
    if let Some(path) = &options.sweep {
        return read(path);
    }
    let partition = Partition {
        requests: Some(REQUESTS),
        workers: WORKERS,
        engine: Config { blocks: BLOCKS, ..Partition::default().engine },
        seed: options.seed,
        ..Partition::default()
    };
    let schedule = partition.schedule(|done, total| progress(0.05 * done as f64 / total as f64))?;
    let described = (schedule.block_size, schedule.workers, schedule.blocks_per_worker);
    let load = Load::new(schedule)?;
    let workload = Workload::new("built-in".to_owned(), described, &load);
    let quicker = sweep::Options {
        window: Duration::from_millis(150),
        in_a_row: 2,
        rung: 10.0,
        precision: 1.5,
        patience: Duration::from_secs(2),
        answers: Duration::from_millis(100),
        ..sweep::Options::quick()
    };
    let mut launcher = options.trials.clone().map(|(program, name)| Launcher::new(&load, program, name)).transpose()?;
    let launch = |job: &sweep::Job| match &mut launcher {
        Some(launcher) => launcher.launch(job),
        None => job.perform(load.clone()),
    };
    let report =
        sweep::run(&load, workload, &quicker, launch, |at| progress(0.05 + 0.95 * at.thousandths as f64 / 1e3))?;
    Ok(report)
}

/// Reads the JSON report that `kvleap sweep` has written.
fn read(path: &Path) -> Result<Throughput, FiguresError> {
    let fail = |why: String| FiguresError::Saved { path: path.to_owned(), why };
    let text = fs::read(path).map_err(|error| fail(format!("cannot be read: {error}")))?;
    let report: Report =
        serde_json::from_slice(&text).map_err(|error| fail(format!("is not the JSON of a sweep: {error}")))?;
    if report.version != Report::VERSION {
        let (found, wanted) = (report.version, Report::VERSION);
        return Err(fail(format!(
            "has version {found} of the format, and this program reads {wanted}: run the sweep again"
        )));
    }
    Ok(report)
}
