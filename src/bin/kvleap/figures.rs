//! `kvleap figures`.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::ValueEnum;
use kvleap::figures::{Data, FiguresError, Options, Source, Topic};
use kvleap::report::Theme;
use serde_json::json;

use crate::print::print;
use crate::sweep::JOB;
use crate::{Outcome, numbers, progress};

/// Draw the figures that explain the index, from runs of its own.
///
/// Each figure runs what it shows and measures it. It is written as .svg and .png, with a caption (.md) that says what
/// to see in it, and with its data under DIR/data.
#[derive(clap::Args)]
#[command(after_help = "\
Figures:
  1  event-density     blocks stored, removed and cleared, by time and worker
  2  event-flow        the path of an event, with figures of a two-second run
  3  prefix-structure  a small index as position arrays, and the radix tree of
                       the same events
  4  concurrency       a writer and two readers, to the microsecond
  5  jump-search       every place that a lookup looks at
  6  throughput        load achieved and offered, for every backend, and latency

Examples:
  kvleap figures --out figures
      All of them, in light and dark, in under a minute on two cores.
  kvleap figures --out figures --only 1 --trace conversation_trace.jsonl
      One, from a trace.
  kvleap figures --out figures --only 6 --sweep sweep.json
      The throughput that a long sweep measured (kvleap sweep --out sweep.json).
  kvleap figures --out again --data figures/data --theme dark
      Draws from the data of another run; nothing is measured.

Exit codes:
  0  done
  2  not done: bad input, or something failed; figures that were finished
     before stay
  130  interrupted; figures that were finished before stay")]
pub(crate) struct Args {
    /// Folder for the files; created if it does not exist
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// Which figures, by number or name [default: all]
    #[arg(long, value_name = "FIGURE,...", value_delimiter = ',')]
    only: Vec<Topic>,

    /// Draw from the data that another run left in this folder, instead of measuring
    #[arg(long, value_name = "DIR", conflicts_with_all = ["trace", "record", "sweep"])]
    data: Option<PathBuf>,

    /// Colours of the figures; both writes two files of each
    #[arg(long, default_value = "both")]
    theme: Themes,

    /// Trace for figure 1, in the Mooncake format, plain or compressed with gzip or zstd; - is standard input [default:
    /// the built-in workload]
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,

    /// Tokens that one hash id of the trace stands for
    #[arg(long, value_name = "TOKENS", alias = "trace-block-size", default_value_t = 512)]
    block_size: u32,

    /// Recorded events for figure 1, as kvleap replay --record writes them
    #[arg(long, value_name = "FILE", conflicts_with = "trace")]
    record: Option<PathBuf>,

    /// Report of a sweep for figure 6, as kvleap sweep --out writes it [default: a quick sweep]
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
            (Some(trace), _) => Source::Trace(trace.clone(), self.block_size),
            (None, Some(record)) => Source::Record(record.clone()),
            (None, None) => Source::BuiltIn,
        };
        let trials = Some((std::env::current_exe()?, JOB));
        Ok(Options { source, sweep: self.sweep.clone(), trials, seed: self.seed })
    }

    /// The figures to draw, ascending, each once.
    fn topics(&self) -> Vec<Topic> {
        let wanted = |topic: &Topic| self.only.is_empty() || self.only.contains(topic);
        Topic::ALL.into_iter().filter(wanted).collect()
    }

    pub(crate) fn run(self) -> Outcome {
        let topics = self.topics();
        let saved = match &self.data {
            Some(directory) => topics.iter().map(|topic| topic.load(&topic.data_file(directory)).map(Some)).collect(),
            None => topics.iter().map(|_| Ok(None)).collect::<Result<Vec<Option<Data>>, FiguresError>>(),
        }?;
        check_directory(&self.out)?;
        let options = self.options()?;
        // Every figure is a thousand steps.
        let bar = progress::described(topics.len() as u64 * 1000);
        let mut written = Vec::new();
        for ((&topic, saved), done) in topics.iter().zip(saved).zip(0..) {
            let begin = Instant::now();
            #[allow(clippy::cast_sign_loss)] // it is clamped
            let show = |part: f64| bar.set_position(done * 1000 + (1000.0 * part.clamp(0.0, 1.0)) as u64);
            bar.set_message(topic.name());
            show(0.0);
            let data = saved.map_or_else(|| topic.collect(&options, show), Ok)?;
            let files = data.write(&self.out, self.theme.list())?;
            written.push((topic, files, begin.elapsed().as_secs_f64(), data.caption()));
        }
        bar.finish_and_clear();
        print(&if self.json { as_json(&written) } else { as_text(&written) })?;
        Ok(ExitCode::SUCCESS)
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
        format!("{caption}\n{}\n  {topic} took {}\n\n", files.join("\n"), numbers::seconds(*seconds))
    });
    lines.collect::<String>().trim_end().to_owned() + "\n"
}

/// Checks that files can be written to the folder, before minutes are spent on them.
fn check_directory(out: &Path) -> Result<(), FiguresError> {
    let made = fs::create_dir_all(out).and_then(|()| tempfile::tempfile_in(out));
    made.map(drop).map_err(|source| FiguresError::File { path: out.to_owned(), source })
}
