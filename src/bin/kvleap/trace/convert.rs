//! `kvleap trace convert`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use kvleap::trace::Output;
use kvleap::trace::convert::{Arrivals, Job, Kind, convert};

use super::filled;
use crate::{Outcome, progress};

/// Convert traces: recorded sessions and conversations to rows, and rows to sessions or to smaller blocks.
#[derive(clap::Args)]
#[command(after_help = "\
Forms:
  rows      the Mooncake format, one row a line
  sessions  recorded sessions of coding agents, one JSON object each, as in
            callanjfox/kv-cache-tester
  chats     conversations in the form of ShareGPT or of chat APIs, as an array
            or one a line; can only be converted from

Examples:
  kvleap trace convert --from sessions traces/*.json --rate 0.005 \\
      --out agentic.jsonl.gz
      Recorded sessions, of which one begins every 200 seconds on average.
  kvleap trace convert --from chats sharegpt.json --tokenizer tokenizer.json \\
      --block-size 64
      Conversations; every answer becomes a request.
  kvleap trace convert --from rows --block-size 512 --to-block-size 16 \\
      trace.jsonl
      The same trace in smaller blocks.

Exit codes:
  0  done
  2  not done: bad input, or something failed
  130  interrupted; no file is left")]
pub(super) struct Args {
    /// Files to convert, plain or compressed with gzip or zstd; - is standard input. Rows come from one file only
    #[arg(value_name = "FILE", required_unless_present = "trace")]
    files: Vec<PathBuf>,

    /// Trace to convert, as a FILE; may be given again
    #[arg(long, value_name = "FILE")]
    trace: Vec<PathBuf>,

    /// Form of the files
    #[arg(long, value_name = "FORM", value_parser = kind())]
    from: Kind,

    /// Form to write
    #[arg(long, value_name = "FORM", default_value = Kind::Rows.name(), value_parser = kind())]
    to: Kind,

    /// Tokens in a block of the input [default: 512, or what sessions say]
    #[arg(long, value_name = "TOKENS", alias = "trace-block-size")]
    block_size: Option<u32>,

    /// Tokens in a block of the output; must divide the block size of the input [default: the same]
    #[arg(long, value_name = "TOKENS")]
    to_block_size: Option<u32>,

    /// Renumber the ids of rows, so that each stands for its whole prefix
    #[arg(long)]
    chain: bool,

    /// Tokenizer for the text of chats: a Hugging Face tokenizer.json, or whitespace, or bytes
    #[arg(long, value_name = "FILE", default_value = "whitespace")]
    tokenizer: PathBuf,

    /// Sessions and chats that begin per second, on average
    #[arg(long, value_name = "RATE", default_value_t = Arrivals::default().rate)]
    rate: f64,

    /// Seconds between the requests of a chat, on average
    #[arg(long, value_name = "SECONDS", default_value_t = Arrivals::default().pause)]
    pause: f64,

    /// Seed of the times; equal seeds give equal times
    #[arg(long, value_name = "SEED", default_value_t = Arrivals::default().seed)]
    seed: u64,

    /// File for the trace, compressed if the name ends in .gz, and renamed into place when complete; - is standard
    /// output
    #[arg(long, value_name = "FILE", alias = "output-file", default_value = "-")]
    out: PathBuf,
}

fn kind() -> impl TypedValueParser<Value = Kind> {
    PossibleValuesParser::new(Kind::ALL.map(Kind::name)).try_map(|name| name.parse::<Kind>())
}

impl Args {
    pub(super) fn run(self) -> Outcome {
        let job = Job {
            inputs: self.trace.into_iter().chain(self.files).collect(),
            from: self.from,
            to: self.to,
            block_size: self.block_size,
            to_block_size: self.to_block_size,
            chain: self.chain,
            tokenizer: self.tokenizer,
            arrivals: Arrivals { rate: self.rate, pause: self.pause, seed: self.seed },
        };
        let bar = progress::counting("rows written");
        let written = filled(Output::create(&self.out)?, |output| {
            convert(&job, |line| {
                bar.inc(1);
                output.write(&line)
            })
        });
        bar.finish_and_clear();
        written?;
        Ok(ExitCode::SUCCESS)
    }
}
