//! `kvleap trace hash`.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use kvleap::trace::Output;
use kvleap::trace::text::{Prompts, Settings, Tokenizer, hash};

use super::{guard, progress};

/// Turn prompts into a trace: tokenise them and number their blocks.
///
/// A block's id stands for its tokens and its whole prefix; ids are 0, 1, 2, ... in the order of first appearance.
/// Prompts are tokenised in parallel, without special tokens, and written in order.
#[derive(clap::Args)]
#[command(after_help = "\
Each line is an object with the text prompt. It may have timestamp (milliseconds, 0 if not given), output_length (tokens)
and session_id, which are taken over.

Examples:
  kvleap trace hash --tokenizer tokenizer.json --block-size 64 prompts.jsonl --output-file trace.jsonl
      With the tokenizer of a model.
  kvleap trace hash --tokenizer bytes --block-size 16 - < prompts.jsonl
      Every byte is a token; from standard input.

Exit codes:
  0  done
  2  not done: bad input, or something failed")]
pub(super) struct Args {
    /// Prompts, one JSON object a line, plain or compressed with gzip or zstd; - is standard input
    #[arg(value_name = "PROMPTS")]
    prompts: PathBuf,

    /// A Hugging Face tokenizer.json, or whitespace, or bytes
    #[arg(long, value_name = "FILE", default_value = "whitespace")]
    tokenizer: PathBuf,

    /// Tokens that one hash id stands for
    #[arg(long, value_name = "TOKENS", default_value_t = Settings::default().block_size)]
    block_size: u32,

    /// Tokens of the answer to a prompt that does not say
    #[arg(long, value_name = "TOKENS", default_value_t = Settings::default().output_length)]
    output_length: u32,

    /// Where to write; compressed if the name ends in .gz, complete or not there; - is standard output
    #[arg(long, value_name = "FILE", default_value = "-")]
    output_file: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<ExitCode, Box<dyn Error>> {
    let settings = Settings { block_size: args.block_size, output_length: args.output_length };
    let tokenizer = Tokenizer::load(&args.tokenizer)?;
    let prompts = Prompts::open(&args.prompts)?;
    let read = prompts.progress();
    let bar = progress::bytes(&read);
    let written = guard::write(Output::create(&args.output_file)?, |output| {
        hash(prompts, &tokenizer, &settings, |row| {
            bar.set_position(read.read());
            output.write(&row)
        })
    });
    bar.finish_and_clear();
    written?;
    Ok(ExitCode::SUCCESS)
}
