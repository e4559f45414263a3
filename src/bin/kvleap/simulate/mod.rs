//! `kvleap simulate`.

mod args;
mod table;

use std::error::Error;
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};
use kvleap::report::write;
use kvleap::sim::{Dimension, Experiment, Progress, Report, SimError, Vary, page};

use args::{Settings, Values};

/// Play requests over a simulated fleet behind a router, and compare routing policies.
///
/// Every request is looked up in the index and sent where a policy says; a simulated engine with a block pool and
/// continuous batching serves it, and its events update the index. All policies get the same requests. Without options,
/// all policies serve conversations on eight workers; the table goes to stdout and the charts to simulate.html.
#[derive(clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  kvleap simulate
      All policies on conversations, 8 workers, 10,000 requests.
  kvleap simulate compare --workload rag=3,agents=1 --workers 100 --policy cost,round-robin
      Two policies, a mix of traffic, 100 workers.
  kvleap simulate compare --trace conversation_trace.jsonl --workers 16 --speedup 4
      A trace, its own times four times as fast.
  kvleap simulate lag --policy cost,longest-prefix
      What it costs when events come late.
  kvleap simulate grid --vary lag=0,1,10 --vary policy=cost,round-robin
      A grid; `--vary` takes the names of options and a list of values.
  kvleap simulate compare --workers 4 --restart 60:0 --leave 90:1 --slow 30:2:3 --loss 0.01
      A worker that restarts, one that dies, one at a third of its speed, and 1% of the events lost.

Exit codes:
  0  done
  2  not done: bad input, or something failed"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    experiment: Option<Command>,

    #[command(flatten)]
    settings: Settings,
}

#[derive(Subcommand)]
enum Command {
    /// Compare policies; what `simulate` does without a subcommand
    Compare(Settings),
    /// Vary the tokens in a block: 16 to 256
    BlockSize(Values),
    /// Vary the workers, at the same rate for each: 1 to 1,000
    FleetSize(Values),
    /// Vary the blocks that a worker can cache
    Capacity(Values),
    /// Vary how late events arrive: 0 to 10 s
    Lag(Values),
    /// Vary the temperature of the policy cost
    Temperature(Values),
    /// Vary anything, in all combinations
    Grid(Grid),
}

#[derive(clap::Args)]
struct Grid {
    /// What to vary, and the values: NAME=A,B,... with block-size, workers, blocks, lag, rate, temperature,
    /// prefill-weight or policy. The first one is the outermost
    #[arg(long, value_name = "NAME=A,B,...", required = true)]
    vary: Vec<Vary>,

    #[command(flatten)]
    settings: Settings,
}

impl Args {
    /// The experiment, and where its results go.
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
}

pub(crate) fn run(args: Args) -> Result<ExitCode, Box<dyn Error>> {
    let (experiment, settings) = args.experiment()?;
    settings.check_files()?;
    let bar = progress_bar();
    let report = kvleap::sim::run(&experiment, |progress| show(&bar, progress));
    bar.finish_and_clear();
    let report = report?;
    if let Some(file) = settings.report_file() {
        save(file, &report)?;
    }
    for path in &settings.figure {
        page::figure(&report).save(path, settings.theme)?;
    }
    let text = if settings.json { serde_json::to_string(&report)? + "\n" } else { table::text(&report) };
    match io::stdout().write_all(text.as_bytes()) {
        // A reader that has seen enough, as `head` has, is no failure.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Writes the charts, and says where.
fn save(file: &Path, report: &Report) -> Result<(), Box<dyn Error>> {
    let replaced = file.exists();
    let html = page::html(report)?;
    write(file, html.as_bytes()).map_err(|error| format!("{}: cannot be written: {error}", file.display()))?;
    let replaced = if replaced { ", in place of the file of that name" } else { "" };
    // Nobody is left to tell if this fails.
    let _ = writeln!(io::stderr(), "the charts are in {}{replaced}", file.display());
    Ok(())
}

/// On stderr; draws nothing where that is no terminal. Before the first request is over, there is no telling how far it
/// is.
fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_message("making or reading the requests");
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

fn show(bar: &ProgressBar, at: Progress) {
    if bar.length().is_none() {
        let style = ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} requests, {eta} left: {msg}");
        bar.set_style(style.expect("the template is well-formed"));
        bar.set_length(at.total);
        bar.reset_eta();
    }
    if bar.message() != at.policy {
        bar.set_message(at.policy);
    }
    bar.set_position(at.done);
}
