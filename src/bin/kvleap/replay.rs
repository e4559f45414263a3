//! `kvleap replay`.

use std::error::Error;
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use indicatif::{ProgressBar, ProgressStyle};
use kvleap::replay::{Assign, Options};

use crate::text;

/// Play a request trace over a fleet of simulated engines and measure the index.
///
/// Every request is looked up and then served by a worker, an engine with a cache of blocks, whose events update the
/// index.
/// Without --trace a built-in workload is played: conversations of many turns under shared system prompts.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  kvleap replay
      The built-in workload, 10,000 requests.
  kvleap replay --trace conversation_trace.jsonl --verify
      A trace in blocks of 512 tokens, every answer compared with a literal model.
  kvleap replay --trace agentic.jsonl.gz --trace-block-size 64 --block-size 64 --assign best --json
      A trace in blocks of 64 tokens, routed by the deepest match; the report as JSON.

Exit codes:
  0  done
  1  done, and --verify found a wrong answer
  2  not done: bad input, or something failed")]
pub(crate) struct Args {
    /// Trace to play, .jsonl or .jsonl.gz [default: the built-in workload]
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,

    /// Tokens in a block of the trace; a multiple of --block-size. Unused without --trace
    #[arg(long, value_name = "TOKENS", default_value_t = Options::default().trace_block_size)]
    trace_block_size: u32,

    /// Requests to play, the first ones of the trace [default: the whole trace, 10000 of the built-in workload]
    #[arg(long, value_name = "N")]
    requests: Option<u64>,

    /// Workers in the fleet
    #[arg(long, value_name = "N", default_value_t = Options::default().workers)]
    workers: u32,

    /// Blocks that one worker can cache
    #[arg(long, value_name = "BLOCKS", default_value_t = Options::default().blocks_per_worker)]
    blocks_per_worker: usize,

    /// Tokens in a block
    #[arg(long, value_name = "TOKENS", default_value_t = Options::default().block_size)]
    block_size: u32,

    /// Which worker serves a request; best is the deepest match, of equals the least loaded
    #[arg(long, default_value = Options::default().assign.name(), value_parser = assign())]
    assign: Assign,

    /// Shards of the index, with a writer thread each
    #[arg(long, value_name = "N", default_value_t = Options::default().shards)]
    shards: usize,

    /// Cores to pin the writers to, one after another, over again if there are more shards [default: not pinned]
    #[arg(long, value_name = "CORE,...", value_delimiter = ',')]
    pin: Vec<usize>,

    /// Seed of the workload, the random assignment and the index; equal seeds give equal counts
    #[arg(long, value_name = "SEED", default_value_t = Options::default().seed)]
    seed: u64,

    /// Compare every answer, for every worker, with a literal model; slow
    #[arg(long)]
    verify: bool,

    /// Write what took effect as JSON lines, gzipped if the name ends in .gz; complete or not there
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,

    /// Print the report as one JSON object
    #[arg(long)]
    json: bool,
}

fn assign() -> impl TypedValueParser<Value = Assign> {
    PossibleValuesParser::new(Assign::ALL.map(Assign::name)).try_map(|name| name.parse::<Assign>())
}

impl From<Args> for Options {
    fn from(args: Args) -> Self {
        Self {
            trace: args.trace,
            trace_block_size: args.trace_block_size,
            requests: args.requests,
            workers: args.workers,
            blocks_per_worker: args.blocks_per_worker,
            block_size: args.block_size,
            assign: args.assign,
            shards: args.shards,
            pin: args.pin,
            seed: args.seed,
            verify: args.verify,
            record: args.record,
        }
    }
}

pub(crate) fn run(args: Args) -> Result<ExitCode, Box<dyn Error>> {
    let json = args.json;
    let bar = progress_bar();
    let report = kvleap::replay::run(&args.into(), |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let report = report?;
    let text = if json { serde_json::to_string(&report)? + "\n" } else { text::replay(&report) };
    match io::stdout().write_all(text.as_bytes()) {
        // A reader that has seen enough, as `head` has, is no failure.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ if report.mismatches.unwrap_or(0) > 0 => Ok(ExitCode::from(1)),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// On stderr; draws nothing where that is no terminal.
fn progress_bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} requests, {per_sec}, {eta} left");
    ProgressBar::new(0).with_style(style.expect("the template is well-formed"))
}
