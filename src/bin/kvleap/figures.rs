//! `kvleap figures`.

use std::error::Error;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use kvleap::figures::{Data, FiguresError, Options, Source, Topic};
use kvleap::report::Theme;
use serde_json::json;

use crate::sweep::JOB;

/// Draw the figures that explain the index, from runs of its own.
///
/// Each figure runs what it shows, measures it, and is written as .svg and .png, with a caption (.md) that says what to
/// see in it, and its data under DIR/data.
#[derive(clap::Args)]
#[command(after_help = "\
Figures:
  1  event-density     blocks stored, removed and cleared, by time and worker
  2  event-flow        the way of an event, with the figures of a run of two seconds
  3  prefix-structure  a small index as position arrays, and the radix tree of the same events
  4  concurrency       a writer and two readers, to the microsecond
  5  jump-search       every place that a lookup looks at
  6  throughput        load achieved and offered, for every backend; latency beside it

Examples:
  kvleap figures --out figures
      All of them, in light and dark, in under a minute on two cores.
  kvleap figures --out figures --only 1 --trace conversation_trace.jsonl
      One, from a trace.
  kvleap figures --out figures --only 6 --sweep sweep.json
      The throughput that a long sweep measured (kvleap sweep --json sweep.json).
  kvleap figures --out again --data figures/data --theme dark
      Draws from what another run collected; nothing is measured.

Exit codes:
  0  done
  2  not done: bad input, or something failed; figures that were finished before stay")]
pub(crate) struct Args {
    /// Where the files go; made if it is not there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// Which figures, by number or name [default: all]
    #[arg(long, value_name = "FIGURE,...", value_delimiter = ',')]
    only: Vec<Topic>,

    /// Draw from the data that another run left in this directory, instead of collecting
    #[arg(long, value_name = "DIR", conflicts_with_all = ["trace", "record", "sweep"])]
    data: Option<PathBuf>,

    /// Colours
    #[arg(long, default_value = "both")]
    theme: Themes,

    /// Trace for figure 1, .jsonl or .jsonl.gz [default: the built-in workload]
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,

    /// Tokens in a block of the trace
    #[arg(long, value_name = "TOKENS", default_value_t = 512)]
    trace_block_size: u32,

    /// Recorded events for figure 1, as kvleap replay --record writes them
    #[arg(long, value_name = "FILE", conflicts_with = "trace")]
    record: Option<PathBuf>,

    /// A sweep's JSON for figure 6, as kvleap sweep --json writes it [default: a quick sweep]
    #[arg(long, value_name = "FILE")]
    sweep: Option<PathBuf>,

    /// Seed of workloads and indexes
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    seed: u64,

    /// Print what was written as one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Themes {
    Light,
    Dark,
    Both,
}

impl Themes {
    fn list(self) -> &'static [Theme] {
        match self {
            Self::Light => &[Theme::Light],
            Self::Dark => &[Theme::Dark],
            Self::Both => &Theme::ALL,
        }
    }
}

impl Args {
    fn options(&self) -> Result<Options, Box<dyn Error>> {
        let source = match (&self.trace, &self.record) {
            (Some(trace), _) => Source::Trace(trace.clone(), self.trace_block_size),
            (None, Some(record)) => Source::Record(record.clone()),
            (None, None) => Source::BuiltIn,
        };
        let trials = Some((std::env::current_exe()?, JOB));
        Ok(Options { source, sweep: self.sweep.clone(), trials, seed: self.seed })
    }

    /// Ascending, each once.
    fn topics(&self) -> Vec<Topic> {
        let wanted = |topic: &Topic| self.only.is_empty() || self.only.contains(topic);
        Topic::ALL.into_iter().filter(wanted).collect()
    }
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, Box<dyn Error>> {
    let topics = args.topics();
    let saved = match &args.data {
        Some(directory) => topics.iter().map(|topic| topic.load(&topic.data_file(directory)).map(Some)).collect(),
        None => topics.iter().map(|_| Ok(None)).collect::<Result<Vec<Option<Data>>, FiguresError>>(),
    }?;
    check_directory(&args.out)?;
    let options = args.options()?;
    let bar = progress_bar(topics.len());
    let mut written = Vec::new();
    for ((&topic, saved), done) in topics.iter().zip(saved).zip(0..) {
        let begin = Instant::now();
        #[allow(clippy::cast_sign_loss)] // it is clamped
        let show = |part: f64| bar.set_position(done * 1000 + (1000.0 * part.clamp(0.0, 1.0)) as u64);
        bar.set_message(topic.name());
        show(0.0);
        let data = saved.map_or_else(|| topic.collect(&options, show), Ok)?;
        let files = data.write(&args.out, args.theme.list())?;
        written.push((topic, files, begin.elapsed().as_secs_f64(), data.caption()));
    }
    bar.finish_and_clear();
    let text = if args.json { as_json(&written) } else { as_text(&written) };
    match io::stdout().write_all(text.as_bytes()) {
        // A reader that has seen enough, as `head` has, is no failure.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// A figure, its files, the seconds that it took, and its caption.
type Written = (Topic, Vec<PathBuf>, f64, String);

fn as_json(written: &[Written]) -> String {
    let figures = written.iter().map(|(topic, files, seconds, caption)| {
        let files: Vec<_> = files.iter().map(|file| file.to_string_lossy()).collect();
        json!({ "figure": topic.number(), "name": topic.name(), "seconds": seconds, "files": files, "caption": caption })
    });
    json!({ "figures": figures.collect::<Vec<_>>() }).to_string() + "\n"
}

fn as_text(written: &[Written]) -> String {
    let lines = written.iter().map(|(topic, files, seconds, caption)| {
        let files: Vec<String> = files.iter().map(|file| format!("  {}", file.display())).collect();
        format!("{caption}\n{}\n  {topic} took {seconds:.1} s\n\n", files.join("\n"))
    });
    lines.collect::<String>().trim_end().to_owned() + "\n"
}

/// That files can be written there, before minutes are spent on them.
fn check_directory(out: &Path) -> Result<(), FiguresError> {
    let probe = out.join(format!(".{}.partial", std::process::id()));
    let made = fs::create_dir_all(out).and_then(|()| fs::write(&probe, b"")).and_then(|()| fs::remove_file(&probe));
    made.map_err(|source| FiguresError::File { path: out.to_owned(), source })
}

/// On stderr; draws nothing where that is no terminal. Every figure is a thousand steps.
fn progress_bar(figures: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {percent:>3}%: {msg}");
    ProgressBar::new(figures as u64 * 1000).with_style(style.expect("the template is well-formed"))
}
