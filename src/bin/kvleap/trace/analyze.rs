//! `kvleap trace analyze`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[cfg(feature = "report")]
use kvleap::report::Theme;
use kvleap::trace::analyze::{Analysis, Options, analyze};
use kvleap::trace::{BLOCK_SIZE, ToolError, open};

use super::table;
#[cfg(feature = "report")]
use crate::outputs;
use crate::print::print;
use crate::{Outcome, progress};

/// Describe traces: lengths, reuse, hit rate by cache size, arrivals, sessions.
///
/// The table has the metrics of Dynamo's `datagen analyze`, computed as it does. There, context is what repeats anywhere
/// in the file; the causal rows count only what an earlier request had. Memory grows with the number of distinct ids,
/// not of rows.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  kvleap trace analyze conversation_trace.jsonl
      The table, hit rate by cache size for fleets of 1, 2, 4 and 8 workers, and
      arrivals.
  kvleap trace analyze --block-size 64 --json agentic.jsonl.gz
      A trace in blocks of 64 tokens; everything, at full precision, as JSON.
  zstdcat *.zst | kvleap trace analyze --workers 16 --figure hits.svg -
      From standard input, for 16 workers, with charts.

Exit codes:
  0  done
  2  not done: bad input, or something failed
  130  interrupted; no file is left")]
pub(super) struct Args {
    /// Traces in the Mooncake format, plain or compressed with gzip or zstd; - is standard input
    #[arg(value_name = "FILE", required_unless_present = "trace")]
    files: Vec<PathBuf>,

    /// Trace to describe, as a FILE; may be given again
    #[arg(long, value_name = "FILE")]
    trace: Vec<PathBuf>,

    /// Tokens that one hash id of the trace stands for
    #[arg(long, value_name = "TOKENS", alias = "trace-block-size", default_value_t = BLOCK_SIZE)]
    block_size: u32,

    /// Fleets to compute the hit rate by cache size for, as numbers of workers; requests go to the workers in turn
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_values_t = Options::default().workers)]
    workers: Vec<u32>,

    /// Seconds over which a working set is counted
    #[arg(long, value_name = "SECONDS", default_value_t = Options::default().window_ms / 1000)]
    window: u64,

    /// Draw hit rate by cache size, working set and lengths of one trace as .svg or .png; may be given again
    #[cfg(feature = "report")]
    #[arg(long, value_name = "FILE", alias = "plot")]
    figure: Vec<PathBuf>,

    /// Colours of the figures
    #[cfg(feature = "report")]
    #[arg(long, default_value = Theme::Light.name(), value_parser = outputs::theme())]
    theme: Theme,

    /// Print the report as one JSON object, on a line of its own for each trace
    #[arg(long)]
    json: bool,

    /// Print all columns of the tables, however wide they get
    #[arg(long)]
    wide: bool,
}

impl Args {
    pub(super) fn run(self) -> Outcome {
        let options = Options { workers: self.workers.clone(), window_ms: self.window.saturating_mul(1000) };
        let files = || self.trace.iter().chain(&self.files);
        #[cfg(feature = "report")]
        {
            if !self.figure.is_empty() && files().nth(1).is_some() {
                return Err(
                    ToolError::Option { option: "--figure", why: "draws one trace; give one".to_owned() }.into()
                );
            }
            self.figure.iter().try_for_each(|path| outputs::check_figure(path))?;
        }
        let mut text = String::new();
        for file in files() {
            let analysis = read(file, self.block_size, &options)?;
            #[cfg(feature = "report")]
            for path in &self.figure {
                kvleap::trace::analyze::figure(&analysis).save(path, self.theme)?;
            }
            let json = self.json.then(|| serde_json::to_string(&analysis)).transpose()?;
            text += &json.map_or_else(|| table::analysis(&analysis, self.wide), |json| json + "\n");
        }
        print(&text)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn read(file: &Path, block_size: u32, options: &Options) -> Result<Analysis, ToolError> {
    let rows = open(file, block_size)?;
    let read = rows.progress();
    let bar = progress::bytes(read.total());
    let analysis = analyze(rows, options, |_| bar.set_position(read.read()));
    bar.finish_and_clear();
    analysis
}
