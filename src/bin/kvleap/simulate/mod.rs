//! `kvleap simulate`.

mod args;
mod table;

use std::error::Error;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Subcommand;
use indicatif::ProgressBar;
use kvleap::sim::{Dimension, Experiment, Progress, Report, SimError, Vary, page};

use args::{Settings, Values};

use crate::print::print;
use crate::{Outcome, outputs, progress};

/// Play requests over a simulated fleet behind a router, and compare routing policies.
///
/// Every request is looked up in the index and sent where a policy says; a simulated engine with a block pool and
/// continuous batching serves it, and its events update the index. All policies get the same requests. Without options,
/// all policies serve conversations on eight workers. The table goes to standard output and the charts to
/// simulate.html.
#[derive(clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  kvleap simulate
      All policies on conversations, 8 workers, 10,000 requests.
  kvleap simulate compare --workload rag=3,agents=1 --workers 100 \\
      --policy cost,round-robin
      Two policies, a mix of traffic, 100 workers.
  kvleap simulate compare --trace conversation_trace.jsonl --workers 16 \\
      --speedup 4
      A trace, its own times four times as fast.
  kvleap simulate lag --policy cost,longest-prefix
      What it costs when events come late.
  kvleap simulate grid --vary lag=0,1,10 --vary policy=cost,round-robin
      A grid; --vary takes the name of an option and a list of values.
  kvleap simulate compare --workers 4 --restart 60:0 --leave 90:1 \\
      --slow 30:2:3 --loss 0.01
      A worker that restarts, one that dies, one at a third of its speed, and 1%
      of the events lost.

Defaults:
  Fleets differ from command to command, and stay as they are so that figures
  remain comparable with published ones. Here: 8 workers, with as many blocks
  of 64 tokens as their profile has memory for.

Exit codes:
  0  done
  2  not done: bad input, or something failed
  130  interrupted; no file is left"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    experiment: Option<Command>,

    #[command(flatten)]
    settings: Settings,
}

#[derive(Subcommand)]
enum Command {
    /// Compare policies: the default
    Compare(Settings),
    /// Vary the block size: 16 to 256 tokens
    BlockSize(Values),
    /// Vary the number of workers, at the same rate for each: 1 to 1,000
    FleetSize(Values),
    /// Vary the size of each worker's cache: 1,024 to 32,768 blocks
    Capacity(Values),
    /// Vary how late events arrive: 0 to 10 s
    Lag(Values),
    /// Vary the temperature of the policy cost: 0 to 300 blocks
    Temperature(Values),
    /// Vary any options, in all combinations
    Grid(Grid),
}

#[derive(clap::Args)]
struct Grid {
    /// What to vary, and the values: block-size, workers, blocks, lag, rate, temperature, prefill-weight or policy; may
    /// be given again, the outermost first
    #[arg(long, value_name = "NAME=A,B,...", required = true)]
    vary: Vec<Vary>,

    #[command(flatten)]
    settings: Settings,
}

impl Args {
    /// Returns the experiment, and where its results go.
    fn experiment(self) -> Result<(Experiment, Settings), SimError> {
        let along = |name, dimension, defaults: &[f64], Values { values, settings }: Values| {
            let values = if values.is_empty() { defaults.to_vec() } else { values };
            (name, vec![Vary::Along(dimension, values)], settings)
        };
        let command = self.experiment.unwrap_or(Command::Compare(self.settings));
        let (name, vary, mut settings) = match command {
            Command::Compare(settings) => ("compare", Vec::new(), settings),
            Command::BlockSize(values) => {
                along("block-size", Dimension::BlockSize, &[16.0, 32.0, 64.0, 128.0, 256.0], values)
            }
            Command::FleetSize(values) => {
                along("fleet-size", Dimension::Workers, &[1.0, 4.0, 16.0, 64.0, 256.0, 1000.0], values)
            }
            Command::Capacity(values) => {
                let blocks = [1024.0, 2048.0, 4096.0, 8192.0, 16384.0, 32768.0];
                along("capacity", Dimension::Blocks, &blocks, values)
            }
            Command::Lag(values) => along("lag", Dimension::Lag, &[0.0, 0.1, 0.3, 1.0, 3.0, 10.0], values),
            Command::Temperature(values) => {
                along("temperature", Dimension::Temperature, &[0.0, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0], values)
            }
            Command::Grid(Grid { vary, settings }) => ("grid", vary, settings),
        };
        settings.check_varied(&vary)?;
        settings.default_policies(name);
        Ok((Experiment::new(name, settings.options()?, vary)?, settings))
    }

    pub(crate) fn run(self) -> Outcome {
        let (experiment, settings) = self.experiment()?;
        settings.check_files()?;
        // Until the first request is served, nobody knows how many there are.
        let bar = progress::spinner("making or reading the requests");
        let report = kvleap::sim::run(&experiment, |progress| show(&bar, progress));
        bar.finish_and_clear();
        let report = report?;
        if let Some(file) = settings.report_file() {
            save(file, &report)?;
        }
        for path in &settings.figure {
            page::figure(&report).save(path, settings.theme)?;
        }
        let json = settings.json.then(|| serde_json::to_string(&report)).transpose()?;
        print(&json.map_or_else(|| table::text(&report, settings.wide), |json| json + "\n"))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Writes the charts, and says where.
fn save(file: &Path, report: &Report) -> Result<(), Box<dyn Error>> {
    let replaced = if file.exists() { ", in place of the file of that name" } else { "" };
    outputs::write(file, &page::html(report)?)?;
    // Nobody is left to tell if this fails.
    let _ = writeln!(io::stderr(), "the charts are in {}{replaced}", file.display());
    Ok(())
}

fn show(bar: &ProgressBar, at: Progress) {
    if bar.length().is_none() {
        progress::becomes_counted(bar, at.total);
    }
    if bar.message() != at.policy {
        bar.set_message(at.policy);
    }
    bar.set_position(at.done);
}
