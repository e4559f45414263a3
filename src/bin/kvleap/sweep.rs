//! `kvleap sweep`.

use std::error::Error;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use indicatif::{HumanFloatCount, ProgressBar, ProgressStyle};
use kvleap::mock::Config;
use kvleap::report::{Theme, write};
use kvleap::sweep::{
    Launcher, Load, Options, Partition, Progress, Report, Schedule, System, Threads, Workload, figure, perform,
};

use crate::{outputs, text};

/// Find how much load this index takes, and others beside it.
///
/// A trace (or a built-in workload) is played over a fleet of simulated inference engines; that yields lookups and
/// events with times. These are replayed to each backend at rising rates until it no longer keeps up, every trial in a
/// process of its own. The threshold is the highest rate that was taken several times in a row.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  kvleap sweep --quick
      All backends on the built-in workload, in under three minutes on two cores.
  kvleap sweep --quick --trace conversation_trace.jsonl --json sweep.json --figure sweep.svg --figure sweep.png
      The same on a trace; every trial as JSON, and the chart.
  kvleap sweep --backends kvleap,positional --query-threads 8 --event-threads 4 --writers 4
      Two backends, with as many threads as that.

How to read it:
  Block operations count the blocks of queries, all of them, and those stored and removed. Lookup times are from call
  to answer, staleness is from handing an event over to its visibility, both at the threshold. Wrong answers are counted
  in a pass of their own, on the workload and on one made of collisions.

Exit codes:
  0  done
  1  done, and kvleap gave a wrong answer
  2  not done: bad input, or something failed")]
pub(crate) struct Args {
    /// Short windows and few runs: a first impression
    #[arg(long)]
    quick: bool,

    /// Trace to play, .jsonl or .jsonl.gz, in the order of its times [default: a built-in workload]
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,

    /// Replay a schedule that --save-schedule wrote, instead of a trace over a fleet
    #[arg(long, value_name = "FILE", conflicts_with_all = ["trace", "save_schedule"])]
    schedule: Option<PathBuf>,

    /// Keep the lookups and events that the fleet produced, for --schedule
    #[arg(long, value_name = "FILE")]
    save_schedule: Option<PathBuf>,

    /// Tokens in a block of the trace; a multiple of --block-size. Unused without --trace
    #[arg(long, value_name = "TOKENS", default_value_t = Partition::default().trace_block_size)]
    trace_block_size: u32,

    /// Requests to play, the first ones of the trace [default: the whole trace, 20000 of the built-in workload]
    #[arg(long, value_name = "N")]
    requests: Option<u64>,

    /// Make every block so many blocks
    #[arg(long, value_name = "N", default_value_t = Partition::default().length_factor)]
    length_factor: u32,

    /// Play every request so many times at once, each time with blocks of its own
    #[arg(long, value_name = "N", default_value_t = Partition::default().duplication_factor)]
    duplication_factor: u32,

    /// Workers in the fleet
    #[arg(long, value_name = "N", default_value_t = 32)]
    workers: u32,

    /// Blocks that one worker can cache
    #[arg(long, value_name = "BLOCKS", default_value_t = 8192)]
    blocks_per_worker: u32,

    /// Tokens in a block
    #[arg(long, value_name = "TOKENS", default_value_t = 16)]
    block_size: u32,

    /// Seed of the workload and of the assignment to workers; equal seeds give equal schedules
    #[arg(long, value_name = "SEED", default_value_t = Partition::default().seed)]
    seed: u64,

    /// Backends to compare [default: all]
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', value_parser = system())]
    backends: Vec<System>,

    /// Threads that look up
    #[arg(long, value_name = "N", default_value_t = Threads::default().query)]
    query_threads: usize,

    /// Threads that hand events over
    #[arg(long, value_name = "N", default_value_t = Threads::default().event)]
    event_threads: usize,

    /// Threads that apply events, where a backend can have several: shards of kvleap, pools of other designs
    #[arg(long, value_name = "N", default_value_t = Threads::default().writers)]
    writers: usize,

    /// Leave it to the system where threads run; without this each is pinned to a core
    #[arg(long)]
    no_pin: bool,

    /// Seconds that a trial takes, if the workload is long enough [default: 2; 0.4 with --quick]
    #[arg(long, value_name = "SECONDS")]
    window: Option<f64>,

    /// Runs in a row that must pass at the threshold [default: 3; 2 with --quick]
    #[arg(long, value_name = "N")]
    runs: Option<u32>,

    /// Write every trial as JSON; - is the standard output, and then there is no table
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Draw achieved against offered load, as .svg or .png; may be given again
    #[arg(long, value_name = "FILE")]
    figure: Vec<PathBuf>,

    /// Colours of the figures
    #[arg(long, default_value = Theme::Light.name(), value_parser = outputs::theme())]
    theme: Theme,
}

/// The name by which the command starts itself for a trial.
pub(crate) const JOB: &str = "sweep-job";

/// One trial of a sweep, in a process of its own.
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
            engine: Config { block_size: self.block_size, blocks: self.blocks_per_worker, ..defaults.engine },
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
        let json = self.json.iter().filter(|path| !is_stdout(path));
        json.chain(&self.save_schedule).try_for_each(|path| outputs::check(path))?;
        self.figure.iter().try_for_each(|path| outputs::check_figure(path))
    }
}

fn is_stdout(path: &Path) -> bool {
    path == Path::new("-")
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, Box<dyn Error>> {
    args.check_files()?;
    let options = args.options()?;
    options.check()?;
    let bar = progress_bar();
    let schedule = schedule(args, &bar)?;
    let source = args.schedule.as_ref().or(args.trace.as_ref());
    let name = source.and_then(|path| path.file_name());
    let source = name.map_or("built-in".to_owned(), |name| name.to_string_lossy().into_owned());
    let described = (schedule.block_size, schedule.workers, schedule.blocks_per_worker);
    let load = Load::new(schedule)?;
    let workload = Workload::new(source, described, &load);
    let mut launcher = Launcher::new(&load, std::env::current_exe()?, JOB)?;
    bar.set_length(1000);
    let swept = kvleap::sweep::run(&load, workload, &options, |job| launcher.launch(job), |at| show(&bar, at));
    bar.finish_and_clear();
    let report = swept?;
    save(args, &report)?;
    let right = report.backends.iter().all(|backend| backend.name != System::Kvleap || backend.wrong() == 0);
    Ok(if right { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// The schedule that was saved, or that the fleet makes.
fn schedule(args: &Args, bar: &ProgressBar) -> Result<Schedule, Box<dyn Error>> {
    if let Some(path) = &args.schedule {
        return Ok(Schedule::load(path)?);
    }
    let schedule = args.partition().schedule(|done, total| {
        bar.set_message("simulating the fleet");
        bar.set_length(total);
        bar.set_position(done);
    })?;
    if let Some(path) = &args.save_schedule {
        schedule.save(path)?;
    }
    Ok(schedule)
}

fn save(args: &Args, report: &Report) -> Result<(), Box<dyn Error>> {
    for path in &args.figure {
        figure(report).save(path, args.theme)?;
    }
    let mut text = text::sweep(report);
    if let Some(path) = &args.json {
        let json = serde_json::to_string_pretty(report)? + "\n";
        if is_stdout(path) {
            text = json;
        } else {
            write(path, json.as_bytes()).map_err(|error| format!("{}: cannot be written: {error}", path.display()))?;
        }
    }
    match io::stdout().write_all(text.as_bytes()) {
        // A reader that has seen enough, as `head` has, is no failure.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

pub(crate) fn run_job(args: &JobArgs) -> Result<ExitCode, Box<dyn Error>> {
    let reply = perform(&args.job, io::stdin().lock())?;
    io::stdout().write_all(reply.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// On stderr; draws nothing where that is no terminal.
fn progress_bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {percent:>3}%, {eta} left: {msg}");
    ProgressBar::new(0).with_style(style.expect("the template is well-formed"))
}

fn show(bar: &ProgressBar, at: &Progress) {
    bar.set_position(at.thousandths);
    bar.set_message(match at.rate {
        None => format!("{}, comparing answers", at.system),
        Some(rate) => {
            format!("{}, trial {}: {} block operations/s", at.system, at.trial, HumanFloatCount(rate.round()))
        }
    });
}
