//! Compares published prefix indexes with ours: the same events and the same queries, in one run.
//!
//! Exits with 1 if two systems that promise exact answers differ, and with 2 if a run is impossible.

mod alloc;
mod feed;
mod figures;
mod measure;
mod pair;
mod report;
mod rounds;
mod systems;
mod workload;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use serde_json::json;

use figures::Outcome;
use measure::measure;
use rounds::Row;
use systems::{Compressed, Direct, KvIndex, Kvleap, Literal, Name as System, Null, Positional, Smg};
use workload::{Name, Source, Workload};

/// The profile with which this program and everything it measures are built. `dist` is the one that ships.
const PROFILE: &str = env!("BUILD_PROFILE");

/// Compares published prefix indexes with ours. Each is measured in fresh processes.
#[derive(Parser)]
struct Options {
    /// Measures only this workload.
    #[arg(long, value_enum)]
    workload: Option<Name>,
    /// Plays this trace instead of each workload's own.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Measures only these systems. By default all, but the reference only in quick runs.
    #[arg(long, value_enum, value_delimiter = ',')]
    systems: Vec<System>,
    /// Runs this many fresh processes per system and workload, after one that does not count.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Runs small workloads for one round without a warm-up, as a smoke test; its times mean nothing.
    #[arg(long)]
    quick: bool,
    /// Prints one JSON object to stdout, instead of tables.
    #[arg(long)]
    json: bool,
    /// Runs one round of one system in this process, with the workload in this file.
    #[arg(long, hide = true)]
    child: Option<PathBuf>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let done = match &options.child {
        Some(workload) => child(&options, workload),
        None => parent(&options),
    };
    done.unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::from(2)
    })
}

impl Options {
    fn source(&self) -> Source {
        let traces = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/traces"));
        Source { trace: self.trace.clone(), traces, quick: self.quick }
    }
}

fn parent(options: &Options) -> Result<ExitCode, Box<dyn Error>> {
    let systems: Vec<System> = if options.systems.is_empty() {
        System::value_variants().iter().copied().filter(|&name| options.quick || name != System::Reference).collect()
    } else {
        options.systems.clone()
    };
    let counts = if options.quick { (0, 1) } else { (1, options.rounds.max(1)) };
    let workloads = options.workload.map_or(Name::value_variants().to_vec(), |name| vec![name]);
    let mut all = Vec::<Row>::new();
    if !options.json {
        println!("Built with the profile {PROFILE}.\n");
    }
    for workload in workloads {
        let lacks_trace = workload.trace(&options.source()).is_some_and(|path| !path.exists());
        if options.workload.is_none() && lacks_trace {
            eprintln!("{}: skipped, because its trace is missing; name one with --trace", workload.text());
            continue;
        }
        eprintln!("{}: generating", workload.text());
        let file = Scratch::new(workload);
        Workload::generate(workload, &options.source())?.save(&file.0)?;
        let rows = rounds::run(workload, &file.0, &systems, counts)?;
        if !options.json {
            report::print(&rows);
        }
        all.extend(rows);
    }
    if options.json {
        let rows: Vec<_> = all.iter().map(Row::json).collect();
        println!("{}", serde_json::to_string_pretty(&json!({ "profile": PROFILE, "rows": rows }))?);
    }
    let broken: Vec<&Row> = all.iter().filter(|row| row.is_broken()).collect();
    for row in &broken {
        let wrong = row.wrong_scores.unwrap_or(0);
        eprintln!("{}: {} answers of {} are not exact", row.workload.text(), wrong, row.system.text());
    }
    Ok(if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The path of a temporary file, which is removed on drop.
struct Scratch(PathBuf);

impl Scratch {
    fn new(workload: Name) -> Self {
        let name = format!("kvleap-peers-{}-{}", std::process::id(), workload.text());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A failure only leaves the file behind; the figures are valid.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn child(options: &Options, workload: &Path) -> Result<ExitCode, Box<dyn Error>> {
    let &[system] = options.systems.as_slice() else {
        return Err("--child needs exactly one system in --systems".into());
    };
    let workload = Workload::load(workload)?;
    let outcome: Outcome = match system {
        System::Kvleap | System::KvleapAgain => measure::<Kvleap>(&workload),
        System::KvleapDirect => measure::<Direct>(&workload),
        System::KvIndex => measure::<KvIndex>(&workload),
        System::DynamoCompressed => measure::<Compressed>(&workload),
        System::DynamoPositional => measure::<Positional>(&workload),
        System::Smg => measure::<Smg>(&workload),
        System::Null => measure::<Null>(&workload),
        System::Reference => measure::<Literal>(&workload),
    };
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(ExitCode::SUCCESS)
}
