//! `kvleap trace analyze`.

use std::error::Error;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use kvleap::report::{self, Theme};
use kvleap::trace::analyze::{Analysis, Options, analyze, figure};
use kvleap::trace::{ToolError, open};

use super::{progress, table};

/// Say what traces are like: lengths, reuse, hit rate by cache size, arrivals, sessions.
///
/// The table has the metrics of Dynamo's `datagen analyze`, computed as it does; the causal ones count as context only
/// what an earlier request had. Memory grows with the distinct ids, not with the rows.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  kvleap trace analyze conversation_trace.jsonl
      The table, hit rate by cache size for fleets of 1, 2, 4 and 8 workers, arrivals.
  kvleap trace analyze --block-size 64 --json agentic.jsonl.gz
      A trace in blocks of 64 tokens; everything, at full precision, as JSON.
  zstdcat *.zst | kvleap trace analyze --workers 16 --plot hits.svg -
      From standard input, for 16 workers, with charts.

Exit codes:
  0  done
  2  not done: bad input, or something failed")]
pub(super) struct Args {
    /// Traces, plain or compressed with gzip or zstd; - is standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// Tokens that one hash id stands for
    #[arg(long, value_name = "TOKENS", default_value_t = Options::default().block_size)]
    block_size: u32,

    /// Fleets to tell the hit rate by cache size of, by their number of workers, served in turn
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_values_t = Options::default().workers)]
    workers: Vec<u32>,

    /// Seconds that a working set is counted for
    #[arg(long, value_name = "SECONDS", default_value_t = Options::default().window_ms / 1000)]
    window: u64,

    /// Draw hit rate by cache size, working set and lengths to a file, .svg or .png; of one trace
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,

    /// Colours of the plot: light or dark
    #[arg(long, default_value = "light", value_parser = ["light", "dark"])]
    theme: String,

    /// Print one JSON object a trace and line
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<ExitCode, Box<dyn Error>> {
    let options = Options {
        block_size: args.block_size,
        workers: args.workers.clone(),
        window_ms: args.window.saturating_mul(1000),
    };
    if args.plot.is_some() && args.files.len() > 1 {
        return Err(ToolError::Option { option: "--plot", why: "draws one trace; give one".to_owned() }.into());
    }
    let mut text = String::new();
    for file in &args.files {
        let analysis = read(file, &options)?;
        if let Some(plot) = &args.plot {
            draw(&analysis, plot, args.theme == "dark")?;
        }
        text += &if args.json { serde_json::to_string(&analysis)? + "\n" } else { table::analysis(&analysis) };
    }
    match io::stdout().write_all(text.as_bytes()) {
        // A reader that has seen enough, as `head` has, is no failure.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}

fn read(file: &Path, options: &Options) -> Result<Analysis, ToolError> {
    let rows = open(file)?;
    let read = rows.progress();
    let bar = progress::bytes(&read);
    let analysis = analyze(rows, options, |_| bar.set_position(read.read()));
    bar.finish_and_clear();
    analysis
}

fn draw(analysis: &Analysis, path: &Path, dark: bool) -> Result<(), Box<dyn Error>> {
    let theme = if dark { Theme::Dark } else { Theme::Light };
    let bytes = match path.extension().and_then(|extension| extension.to_str()) {
        Some("svg") => figure(analysis).svg(theme)?.into_bytes(),
        Some("png") => figure(analysis).png(theme)?,
        _ => return Err(ToolError::Option { option: "--plot", why: "must end in .svg or .png".to_owned() }.into()),
    };
    report::write(path, &bytes).map_err(|source| ToolError::Output { path: path.to_owned(), source }.into())
}
