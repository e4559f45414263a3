//! `kvleap sweep`.

mod table;

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use indicatif::ProgressBar;
use kvleap::mock::Config;
use kvleap::report::Theme;
use kvleap::sweep::{
    Job, Launcher, Load, Options, Partition, Progress, Report, Schedule, System, Threads, Workload, figure, perform,
};

use crate::print::print;
use crate::{Outcome, interrupt, numbers, outputs, progress};

/// Find how much load this index takes, and other designs beside it.
///
/// A trace, or a built-in workload, is played over a fleet of simulated engines; that yields lookups and events with
/// times. These are replayed to each backend at rising rates until it no longer keeps up, every trial in a process of
/// its own. The threshold is the highest rate that a backend took several times in a row.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  kvleap sweep --quick
      All backends on the built-in workload, in under three minutes on two cores.
  kvleap sweep --quick --trace conversation_trace.jsonl --out sweep.json \\
      --figure sweep.svg --figure sweep.png
      The same on a trace; every trial as JSON, and the chart.
  kvleap sweep --backends kvleap,positional --query-threads 8 \\
      --event-threads 4 --writers 4
      Two backends, with threads for sixteen cores.

How to read it:
  Block operations count the blocks of queries, all of them, and those stored
  and removed. Lookup times are from call to answer; staleness is the time from
  handing an event over to its visibility; both at the threshold. Wrong answers
  are counted in a pass of their own, on the workload and on a workload of
  colliding blocks.

Defaults:
  Fleets differ from command to command, and stay as they are so that figures
  remain comparable with published ones. Here: 32 workers with 8192 blocks of
  16 tokens, the block size that vLLM uses if not told otherwise. The built-in
  workload has 20000 requests, enough to load the fastest backend.

Exit codes:
  0  done
  1  done, and kvleap gave a wrong answer
  2  not done: bad input, or something failed
  130  interrupted; the report has the trials until then, and says that it was
     interrupted. A second signal ends it without a report")]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag")]
pub(crate) struct Args {
    /// Get a first impression: short windows and few runs
    #[arg(long)]
    quick: bool,

    /// Trace to play, in the Mooncake format, plain or compressed with gzip or zstd; - is standard input. It must be in
    /// the order of its timestamps [default: the built-in workload]
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,

    /// Replay a schedule that --save-schedule wrote, instead of playing a trace over a fleet
    #[arg(long, value_name = "FILE", conflicts_with_all = ["trace", "save_schedule"])]
    schedule: Option<PathBuf>,

    /// Keep the lookups and events that the fleet produced, for --schedule
    #[arg(long, value_name = "FILE")]
    save_schedule: Option<PathBuf>,

    /// Tokens that one hash id of the trace stands for; a multiple of --block-size. The built-in workload has no use
    /// for it
    #[arg(long, value_name = "TOKENS", default_value_t = Partition::default().trace_block_size)]
    trace_block_size: u32,

    /// Play the first N requests only [default: the whole trace; 20000 of the built-in workload]
    #[arg(long, value_name = "N")]
    requests: Option<u64>,

    /// Make every block of a prompt N blocks
    #[arg(long, value_name = "N", default_value_t = Partition::default().length_factor)]
    length_factor: u32,

    /// Play every request N times at once, each time with different blocks
    #[arg(long, value_name = "N", default_value_t = Partition::default().duplication_factor)]
    duplication_factor: u32,

    /// Workers in the fleet
    #[arg(long, value_name = "N", default_value_t = 32)]
    workers: u32,

    /// Blocks that each worker's cache has room for
    #[arg(long, value_name = "BLOCKS", alias = "blocks-per-worker", default_value_t = 8192)]
    blocks: u32,

    /// Tokens in a block of the workers and of the backends
    #[arg(long, value_name = "TOKENS", default_value_t = 16)]
    block_size: u32,

    /// Seed of the workload and of the assignment to workers; equal seeds give equal schedules
    #[arg(long, value_name = "SEED", default_value_t = Partition::default().seed)]
    seed: u64,

    /// Backends to compare [default: all]
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', value_parser = system())]
    backends: Vec<System>,

    /// Threads that look up; by default as many as suit this machine
    #[arg(long, value_name = "N", default_value_t = Threads::default().query)]
    query_threads: usize,

    /// Threads that hand events over; by default as many as suit this machine
    #[arg(long, value_name = "N", default_value_t = Threads::default().event)]
    event_threads: usize,

    /// Threads that apply events, for backends that can have several: shards of kvleap, pools of other designs; by
    /// default as many as suit this machine
    #[arg(long, value_name = "N", default_value_t = Threads::default().writers)]
    writers: usize,

    /// Let the system choose where threads run, instead of pinning each to a core
    #[arg(long)]
    no_pin: bool,

    /// Seconds that a trial takes, if the workload is long enough [default: 2; 0.4 with --quick]
    #[arg(long, value_name = "SECONDS")]
    window: Option<f64>,

    /// Runs in a row that a backend must pass at its threshold [default: 3; 2 with --quick]
    #[arg(long, value_name = "N")]
    runs: Option<u32>,

    /// Draw the chart of achieved against offered load, as .svg or .png; may be given again
    #[arg(long, value_name = "FILE")]
    figure: Vec<PathBuf>,

    /// Colours of the figures
    #[arg(long, default_value = Theme::Light.name(), value_parser = outputs::theme())]
    theme: Theme,

    /// Write the report, with every trial, to a file as JSON, for instance for `kvleap figures --sweep`
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Print the report as one JSON object, with every trial
    #[arg(long)]
    json: bool,

    /// Print all columns of the table, however wide it gets
    #[arg(long)]
    wide: bool,
}

/// The name by which the command starts itself for a trial.
pub(crate) const JOB: &str = "sweep-job";

/// Run one trial of a sweep; the command starts itself with this.
#[derive(clap::Args)]
pub(crate) struct JobArgs {
    job: String,
}

fn system() -> impl TypedValueParser<Value = System> {
    PossibleValuesParser::new(System::ALL.map(System::name)).try_map(|name| name.parse::<System>())
}

impl Args {
    fn partition(&self) -> Partition {
        let defaults = Partition::default();
        // Long enough a load for the fastest backend.
        let requests = self.requests.or_else(|| self.trace.is_none().then_some(20_000));
        Partition {
            trace: self.trace.clone(),
            trace_block_size: self.trace_block_size,
            requests,
            length_factor: self.length_factor,
            duplication_factor: self.duplication_factor,
            workers: self.workers,
            engine: Config { block_size: self.block_size, blocks: self.blocks, ..defaults.engine },
            seed: self.seed,
            requests_per_second: defaults.requests_per_second,
            reset_every_ns: None,
        }
    }

    fn options(&self) -> Result<Options, Box<dyn Error>> {
        let mut options = if self.quick { Options::quick() } else { Options::default() };
        if !self.backends.is_empty() {
            options.systems.clone_from(&self.backends);
        }
        let (query, event, writers) = (self.query_threads, self.event_threads, self.writers);
        options.threads = Threads { query, event, writers, pin: !self.no_pin };
        if let Some(seconds) = self.window {
            options.window = Duration::try_from_secs_f64(seconds).map_err(|error| format!("--window: {error}"))?;
        }
        options.in_a_row = self.runs.unwrap_or(options.in_a_row);
        Ok(options)
    }

    fn check_files(&self) -> Result<(), Box<dyn Error>> {
        self.out.iter().chain(&self.save_schedule).try_for_each(|path| outputs::check(path))?;
        self.figure.iter().try_for_each(|path| outputs::check_figure(path))
    }

    pub(crate) fn run(self) -> Outcome {
        self.check_files()?;
        let options = self.options()?;
        options.check()?;
        let bar = progress::described(1000);
        let schedule = self.schedule(&bar)?;
        let source = self.schedule.as_ref().or(self.trace.as_ref());
        let name = source.and_then(|path| path.file_name());
        let source = name.map_or("built-in".to_owned(), |name| name.to_string_lossy().into_owned());
        let described = (schedule.block_size, schedule.workers, schedule.blocks_per_worker);
        let load = Load::new(schedule)?;
        let workload = Workload::new(source, described, &load);
        let mut launcher = Launcher::new(&load, std::env::current_exe()?, JOB)?;
        bar.set_length(1000);
        let launch = |job: &Job| launcher.launch(job);
        let sweep = || kvleap::sweep::run(&load, workload, &options, launch, |at| show(&bar, at));
        let swept = interrupt::reported(sweep);
        bar.finish_and_clear();
        let report = swept?;
        self.save(&report)?;
        if report.interrupted {
            return Ok(ExitCode::from(interrupt::INTERRUPTED));
        }
        let right = report.backends.iter().all(|backend| backend.name != System::Kvleap || backend.wrong() == 0);
        Ok(if right { ExitCode::SUCCESS } else { ExitCode::from(1) })
    }

    /// Loads the schedule that was saved, or lets the fleet make one.
    fn schedule(&self, bar: &ProgressBar) -> Result<Schedule, Box<dyn Error>> {
        if let Some(path) = &self.schedule {
            return Ok(Schedule::load(path)?);
        }
        let schedule = self.partition().schedule(|done, total| {
            bar.set_message("simulating the fleet");
            bar.set_length(total);
            bar.set_position(done);
        })?;
        if let Some(path) = &self.save_schedule {
            schedule.save(path)?;
        }
        Ok(schedule)
    }

    /// Writes the report, prints, and draws, in this order: what took minutes is kept if the next step fails.
    fn save(&self, report: &Report) -> Result<(), Box<dyn Error>> {
        let json = || serde_json::to_string_pretty(report).map(|json| json + "\n");
        if let Some(path) = &self.out {
            outputs::write(path, &json()?)?;
        }
        let text = if self.json { json()? } else { table::report(report, self.wide) };
        print(&text)?;
        // If it was interrupted early, there is nothing to draw.
        for path in self.figure.iter().filter(|_| !report.backends.is_empty()) {
            figure(report).save(path, self.theme)?;
        }
        Ok(())
    }
}

impl JobArgs {
    pub(crate) fn run(self) -> Outcome {
        let reply = perform(&self.job, io::stdin().lock())?;
        print(&reply)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn show(bar: &ProgressBar, at: &Progress) {
    bar.set_position(at.thousandths);
    bar.set_message(match at.rate {
        None => format!("{}, comparing answers", at.system),
        Some(rate) => {
            format!("{}, trial {}: {} block operations/s", at.system, at.trial, numbers::rate(rate.round()))
        }
    });
}
