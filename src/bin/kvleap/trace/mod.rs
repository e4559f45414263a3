//! `kvleap trace`.

mod analyze;
mod convert;
mod guard;
mod hash;
mod progress;
mod synthesize;
mod table;

use std::error::Error;
use std::process::ExitCode;

/// Analyse, synthesise and make request traces.
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

pub(crate) fn run(args: Args) -> Result<ExitCode, Box<dyn Error>> {
    match args.tool {
        Tool::Analyze(args) => analyze::run(&args),
        Tool::Synthesize(args) => synthesize::run(*args),
        Tool::Hash(args) => hash::run(&args),
        Tool::Convert(args) => convert::run(args),
    }
}
