//! `kvleap trace hash`.

use std::path::PathBuf;
use std::process::ExitCode;

use kvleap::trace::Output;
use kvleap::trace::text::{Prompts, Settings, Tokenizer, hash};

use super::filled;
use crate::{Outcome, progress};

/// Turn prompts into a trace: tokenise them and number their blocks.
///
/// A block's id stands for its tokens and its whole prefix; ids are 0, 1, 2, ... in the order of first appearance.
/// Prompts are tokenised in parallel, without special tokens, and written in order.
#[derive(clap::Args)]
#[command(after_help = "\
Input:
  Each line is an object with the text prompt. It may have timestamp
  (milliseconds; 0 if not given), output_length (tokens) and session_id, which
  are copied.

Examples:
  kvleap trace hash --tokenizer tokenizer.json --block-size 64 prompts.jsonl \\
      --out trace.jsonl
      With the tokenizer of a model.
  kvleap trace hash --tokenizer bytes --block-size 16 - < prompts.jsonl
      Every byte is a token; from standard input to standard output.

Exit codes:
  0  done
  2  not done: bad input, or something failed
  130  interrupted; no file is left")]
pub(super) struct Args {
    /// Prompts, one JSON object a line, plain or compressed with gzip or zstd; - is standard input
    #[arg(value_name = "PROMPTS")]
    prompts: PathBuf,

    /// A Hugging Face tokenizer.json, or whitespace, or bytes
    #[arg(long, value_name = "FILE", default_value = "whitespace")]
    tokenizer: PathBuf,

    /// Tokens that one hash id of the trace stands for
    #[arg(long, value_name = "TOKENS", default_value_t = Settings::default().block_size)]
    block_size: u32,

    /// Tokens of an answer, where a prompt does not say
    #[arg(long, value_name = "TOKENS", default_value_t = Settings::default().output_length)]
    output_length: u32,

    /// File for the trace, compressed if the name ends in .gz, and renamed into place when complete; - is standard
    /// output
    #[arg(long, value_name = "FILE", alias = "output-file", default_value = "-")]
    out: PathBuf,
}

impl Args {
    pub(super) fn run(self) -> Outcome {
        let settings = Settings { block_size: self.block_size, output_length: self.output_length };
        let tokenizer = Tokenizer::load(&self.tokenizer)?;
        let prompts = Prompts::open(&self.prompts)?;
        let read = prompts.progress();
        let bar = progress::bytes(read.total());
        let written = filled(Output::create(&self.out)?, |output| {
            hash(prompts, &tokenizer, &settings, |row| {
                bar.set_position(read.read());
                output.write(&row)
            })
        });
        bar.finish_and_clear();
        written?;
        Ok(ExitCode::SUCCESS)
    }
}
