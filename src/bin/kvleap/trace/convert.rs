//! `kvleap trace convert`.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use kvleap::trace::Output;
use kvleap::trace::convert::{Arrivals, Job, Kind, convert};

use super::{guard, progress};

/// Convert traces: recorded sessions and conversations to rows, rows to sessions or to smaller blocks.
#[derive(clap::Args)]
#[command(after_help = "\
Forms:
  rows      Mooncake rows, one a line
  sessions  recorded sessions of coding agents, one JSON object each, as in callanjfox/kv-cache-tester
  chats     conversations in the form of ShareGPT or of chat APIs, an array or one a line; only to convert from

Examples:
  kvleap trace convert --from sessions traces/*.json --rate 0.005 --output-file agentic.jsonl.gz
      Recorded sessions, of which one begins every 200 seconds on average.
  kvleap trace convert --from chats sharegpt.json --tokenizer tokenizer.json --block-size 64
      Conversations; every answer becomes a request.
  kvleap trace convert --from rows --block-size 512 --to-block-size 16 trace.jsonl
      The same trace in smaller blocks.

Exit codes:
  0  done
  2  not done: bad input, or something failed")]
pub(super) struct Args {
    /// What to convert, plain or compressed with gzip or zstd; - is standard input. Rows from one file only
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// The form of the files
    #[arg(long, value_name = "FORM", value_parser = kind())]
    from: Kind,

    /// The form to write
    #[arg(long, value_name = "FORM", default_value = Kind::Rows.name(), value_parser = kind())]
    to: Kind,

    /// Tokens in a block of the input [default: 512, or what sessions say]
    #[arg(long, value_name = "TOKENS")]
    block_size: Option<u32>,

    /// Tokens in a block of the output; divides the first [default: the same]
    #[arg(long, value_name = "TOKENS")]
    to_block_size: Option<u32>,

    /// Number the ids of rows anew, so that each stands for its whole prefix
    #[arg(long)]
    chain: bool,

    /// What cuts the text of chats: a Hugging Face tokenizer.json, or whitespace, or bytes
    #[arg(long, value_name = "FILE", default_value = "whitespace")]
    tokenizer: PathBuf,

    /// Sessions and chats that begin in a second, on average
    #[arg(long, value_name = "RATE", default_value_t = Arrivals::default().rate)]
    rate: f64,

    /// Seconds between the requests of a chat, on average
    #[arg(long, value_name = "SECONDS", default_value_t = Arrivals::default().pause)]
    pause: f64,

    /// Equal seeds give equal times
    #[arg(long, value_name = "SEED", default_value_t = Arrivals::default().seed)]
    seed: u64,

    /// Where to write; compressed if the name ends in .gz, complete or not there; - is standard output
    #[arg(long, value_name = "FILE", default_value = "-")]
    output_file: PathBuf,
}

fn kind() -> impl TypedValueParser<Value = Kind> {
    PossibleValuesParser::new(Kind::ALL.map(Kind::name)).try_map(|name| name.parse::<Kind>())
}

pub(super) fn run(args: Args) -> Result<ExitCode, Box<dyn Error>> {
    let job = Job {
        inputs: args.files,
        from: args.from,
        to: args.to,
        block_size: args.block_size,
        to_block_size: args.to_block_size,
        chain: args.chain,
        tokenizer: args.tokenizer,
        arrivals: Arrivals { rate: args.rate, pause: args.pause, seed: args.seed },
    };
    let bar = progress::spinner("converting");
    let written = guard::write(Output::create(&args.output_file)?, |output| {
        convert(&job, |line| {
            bar.inc(1);
            output.write(&line)
        })
    });
    bar.finish_and_clear();
    written?;
    Ok(ExitCode::SUCCESS)
}
