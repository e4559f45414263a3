//! The `kvleap` command.
//!
//! Exit codes: 0 done, 1 done and the answer is no, 2 not done, because the input is bad or something failed, 130 not
//! done, because a signal said to end.
//!
//! A subcommand is compiled where its library feature is on. In other builds its name is still there, and says which
//! features it needs.

#![cfg_attr(not(feature = "cli"), allow(dead_code, reason = "each subcommand uses some of the shared helpers"))]

mod interrupt;
#[cfg(feature = "service")]
mod log;
#[macro_use]
mod missing;
mod numbers;
#[cfg(feature = "report")]
mod outputs;
mod print;
mod progress;
mod strays;
mod table;

#[cfg(feature = "figures")]
mod figures;
#[cfg(not(feature = "figures"))]
missing!(figures, "figures");

#[cfg(all(feature = "service", feature = "replay"))]
mod publish;
#[cfg(not(all(feature = "service", feature = "replay")))]
missing!(publish, "service,replay");

#[cfg(feature = "replay")]
mod replay;
#[cfg(not(feature = "replay"))]
missing!(replay, "replay");

#[cfg(feature = "service")]
mod serve;
#[cfg(not(feature = "service"))]
missing!(serve, "service");

#[cfg(feature = "sim")]
mod simulate;
#[cfg(not(feature = "sim"))]
missing!(simulate, "sim");

#[cfg(feature = "sweep")]
mod sweep;
#[cfg(not(feature = "sweep"))]
missing!(sweep, "sweep");

#[cfg(feature = "trace")]
mod trace;
#[cfg(not(feature = "trace"))]
missing!(trace, "trace");

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How a command ended: the exit code, or why it failed.
type Outcome = Result<ExitCode, Box<dyn Error>>;

/// A global index of the KV-cache blocks that LLM inference workers hold, for routers.
///
/// `kvleap COMMAND --help` explains each command, with examples.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Replay(replay::Args),
    Simulate(Box<simulate::Args>),
    Trace(trace::Args),
    Sweep(sweep::Args),
    #[cfg(feature = "sweep")]
    #[command(name = sweep::JOB, hide = true)]
    SweepJob(sweep::JobArgs),
    Figures(figures::Args),
    Serve(Box<serve::Args>),
    Publish(publish::Args),
}

impl Command {
    fn run(self) -> Outcome {
        match &self {
            // These end in ways of their own.
            Self::Serve(_) | Self::Publish(_) => {}
            // The command that has started it ends it.
            #[cfg(feature = "sweep")]
            Self::SweepJob(_) => {}
            _ => interrupt::watch()?,
        }
        match self {
            Self::Replay(args) => args.run(),
            Self::Simulate(args) => args.run(),
            Self::Trace(args) => args.run(),
            Self::Sweep(args) => args.run(),
            #[cfg(feature = "sweep")]
            Self::SweepJob(args) => args.run(),
            Self::Figures(args) => args.run(),
            Self::Serve(args) => args.run(),
            Self::Publish(args) => args.run(),
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::try_parse_from(strays::renamed(std::env::args_os()));
    let cli = cli.unwrap_or_else(|error| strays::explained(error).exit());
    cli.command.run().unwrap_or_else(|error| {
        // Nobody is left to tell if this fails.
        let _ = writeln!(io::stderr(), "error: {error}");
        ExitCode::from(2)
    })
}
