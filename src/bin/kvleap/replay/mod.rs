//! `kvleap replay`.

mod text;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use kvleap::replay::{Assign, Options};

use crate::print::print;
use crate::{Outcome, progress};

/// Play a trace over simulated engines, and measure the index.
///
/// Every request is looked up in the index and then served by a worker: a simulated engine with a cache of blocks,
/// whose events update the index. The report has hit rates, lookup times, the cost of applying events, staleness and
/// memory. Without --trace, a built-in workload is played: conversations of many turns under shared system prompts.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  kvleap replay
      The built-in workload, 10,000 requests.
  kvleap replay --trace conversation_trace.jsonl --verify
      A trace in blocks of 512 tokens; every answer is compared with a literal
      model.
  kvleap replay --trace agentic.jsonl.gz --trace-block-size 64 --block-size 64 \\
      --policy best --json
      A trace in blocks of 64 tokens, routed by the deepest match; the report
      as JSON.

Defaults:
  Fleets differ from command to command, and stay as they are so that figures
  remain comparable with published ones. Here: 32 workers with 4096 blocks of
  128 tokens, a quarter of the 512 in which most public traces come.

Exit codes:
  0  done
  1  done, and --verify found a wrong answer
  2  not done: bad input, or something failed
  130  interrupted; no file is left")]
pub(crate) struct Args {
    /// Trace to play, in the Mooncake format, plain or compressed with gzip or zstd; - is standard input [default: the
    /// built-in workload]
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,

    /// The same as --trace FILE
    #[arg(value_name = "FILE", hide = true, conflicts_with = "trace")]
    file: Option<PathBuf>,

    /// Tokens that one hash id of the trace stands for; a multiple of --block-size. The built-in workload has no use
    /// for it
    #[arg(long, value_name = "TOKENS", default_value_t = Options::default().trace_block_size)]
    trace_block_size: u32,

    /// Play the first N requests only [default: the whole trace; 10000 of the built-in workload]
    #[arg(long, value_name = "N")]
    requests: Option<u64>,

    /// Workers in the fleet
    #[arg(long, value_name = "N", default_value_t = Options::default().workers)]
    workers: u32,

    /// Blocks that each worker's cache has room for
    #[arg(long, value_name = "BLOCKS", alias = "blocks-per-worker",
        default_value_t = Options::default().blocks_per_worker)]
    blocks: usize,

    /// Tokens in a block of the workers and of the index
    #[arg(long, value_name = "TOKENS", default_value_t = Options::default().block_size)]
    block_size: u32,

    /// Which worker serves a request: any, each in turn, or the one with the deepest match, of equals the least loaded.
    /// A router's policies are compared by `kvleap simulate`
    #[arg(long, value_name = "POLICY", alias = "assign", default_value = Options::default().assign.name(),
        value_parser = policy())]
    policy: Assign,

    /// Shards of the index, each with a writer thread
    #[arg(long, value_name = "N", default_value_t = Options::default().shards)]
    shards: usize,

    /// Cores to pin the writer threads to, one after another, and again from the first if there are more shards
    /// [default: not pinned]
    #[arg(long, value_name = "CORE,...", value_delimiter = ',')]
    pin: Vec<usize>,

    /// Seed of the workload, the random policy and the index; equal seeds give equal counts
    #[arg(long, value_name = "SEED", default_value_t = Options::default().seed)]
    seed: u64,

    /// Compare every answer, for every worker, with a literal model; slow
    #[arg(long)]
    verify: bool,

    /// Write events, queries and answers as JSON lines, for another program to check; compressed if the name ends in
    /// .gz, and renamed into place when complete
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,

    /// Print the report as one JSON object
    #[arg(long)]
    json: bool,
}

fn policy() -> impl TypedValueParser<Value = Assign> {
    PossibleValuesParser::new(Assign::ALL.map(Assign::name)).try_map(|name| name.parse::<Assign>())
}

impl From<Args> for Options {
    fn from(args: Args) -> Self {
        Self {
            trace: args.trace.or(args.file),
            trace_block_size: args.trace_block_size,
            requests: args.requests,
            workers: args.workers,
            blocks_per_worker: args.blocks,
            block_size: args.block_size,
            assign: args.policy,
            shards: args.shards,
            pin: args.pin,
            seed: args.seed,
            verify: args.verify,
            record: args.record,
        }
    }
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let json = self.json;
        let bar = progress::counted("requests");
        let report = kvleap::replay::run(&self.into(), |done, total| {
            bar.set_length(total);
            bar.set_position(done);
        });
        bar.finish_and_clear();
        let report = report?;
        print(&if json { serde_json::to_string(&report)? + "\n" } else { text::report(&report) })?;
        Ok(if report.mismatches.unwrap_or(0) > 0 { ExitCode::from(1) } else { ExitCode::SUCCESS })
    }
}
