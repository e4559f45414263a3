//! `kvleap trace`.

mod analyze;
mod synthesize;
mod table;

#[cfg(feature = "tokenizer")]
mod convert;
#[cfg(not(feature = "tokenizer"))]
missing!(convert, "trace convert", "tokenizer");

#[cfg(feature = "tokenizer")]
mod hash;
#[cfg(not(feature = "tokenizer"))]
missing!(hash, "trace hash", "tokenizer");

use kvleap::trace::{Output, ToolError};

use crate::Outcome;

/// Analyse, synthesise and convert request traces.
#[derive(clap::Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    tool: Tool,
}

#[derive(clap::Subcommand)]
enum Tool {
    Analyze(analyze::Args),
    Synthesize(Box<synthesize::Args>),
    Hash(hash::Args),
    Convert(convert::Args),
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        match self.tool {
            Tool::Analyze(args) => args.run(),
            Tool::Synthesize(args) => args.run(),
            Tool::Hash(args) => args.run(),
            Tool::Convert(args) => args.run(),
        }
    }
}

/// Fills an output with `fill` and gives it its name. A reader that closes a pipe is no failure.
fn filled(mut output: Output, fill: impl FnOnce(&mut Output) -> Result<(), ToolError>) -> Result<(), ToolError> {
    match fill(&mut output).and_then(|()| output.finish()) {
        Err(error) if error.is_broken_pipe() => Ok(()),
        written => written,
    }
}
