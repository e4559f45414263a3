//! The `kvleap` command.
//!
//! Exit codes: 0 done, 1 done and the answer is no, 2 not done, because the input is bad or something failed.

mod figures;
mod outputs;
mod publish;
mod replay;
mod serve;
mod simulate;
mod sweep;
mod text;
mod trace;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Global KV-cache prefix index for LLM routers.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Figures(figures::Args),
    Publish(publish::Args),
    Replay(replay::Args),
    Serve(Box<serve::Args>),
    Simulate(Box<simulate::Args>),
    Sweep(sweep::Args),
    #[command(name = sweep::JOB, hide = true)]
    SweepJob(sweep::JobArgs),
    Trace(trace::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Figures(args) => figures::run(&args),
        Command::Publish(args) => publish::run(args),
        Command::Replay(args) => replay::run(args),
        Command::Serve(args) => serve::run(&args),
        Command::Simulate(args) => simulate::run(*args),
        Command::Sweep(args) => sweep::run(&args),
        Command::SweepJob(args) => sweep::run_job(&args),
        Command::Trace(args) => trace::run(args),
    };
    done.unwrap_or_else(|error| {
        // Nobody is left to tell if this fails.
        let _ = writeln!(io::stderr(), "error: {error}");
        ExitCode::from(2)
    })
}
