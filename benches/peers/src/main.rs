//! Compares published prefix indexes with ours: the same events and the same queries, in one run.
//!
//! Exits with 1 if two systems that promise exact answers differ, and with 2 if a run is impossible.

mod alloc;
mod beside;
#[path = "../../common/cores.rs"]
mod cores;
mod feed;
mod figures;
mod measure;
mod place;
mod report;
mod rounds;
mod systems;
mod workload;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use serde_json::json;

use cores::{Cores, SPOILS, Watch};
use figures::Outcome;
use measure::measure;
use rounds::{Plan, Row};
use systems::{
    Compressed, Direct, KvIndex, Kvleap, Literal, Mode, Name as System, Null, Positional, Separated, Smg, Writer,
};
use workload::{Name, Source, Workload};

/// How long the cores are watched before anything runs.
const GLANCE: Duration = Duration::from_millis(500);

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
    /// Measures only this mode: events are applied on the thread that looks up, or on another one.
    #[arg(long, value_enum)]
    mode: Option<Mode>,
    /// Pins lookups to the first of these cores, and to the second the thread that applies events, if there is one.
    /// The first two that this process may use by default.
    #[arg(long, value_name = "CORE,CORE")]
    cores: Option<String>,
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
    /// Writes that object to this file as well.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
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
    let cores = Cores::parse(options.cores.as_deref())?;
    let systems: Vec<System> = if options.systems.is_empty() {
        let usual = |name: &System| name.is_usual() || (options.quick && *name == System::Reference);
        System::value_variants().iter().copied().filter(usual).collect()
    } else {
        options.systems.clone()
    };
    let modes = options.mode.map_or(Mode::value_variants().to_vec(), |mode| vec![mode]);
    let (warm_up, rounds) = if options.quick { (0, 1) } else { (1, options.rounds.max(1)) };
    let workloads = options.workload.map_or(Name::value_variants().to_vec(), |name| vec![name]);
    let mut all = Vec::<Row>::new();
    let place = place(cores);
    if !options.json {
        println!("Built with the profile {PROFILE}. {place}\n");
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
        for &mode in &modes {
            let systems: Vec<_> = systems.iter().copied().filter(|system| system.has(mode)).collect();
            let rows = rounds::run(Plan { workload, file: &file.0, mode, cores, warm_up, rounds }, &systems)?;
            if !options.json {
                report::print(&rows);
            }
            all.extend(rows);
        }
    }
    let rows: Vec<_> = all.iter().map(Row::json).collect();
    let run = json!({ "profile": PROFILE, "cores": [cores.asking, cores.applying], "rows": rows });
    let run = serde_json::to_string_pretty(&run)?;
    if let Some(path) = &options.save {
        std::fs::write(path, &run).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    if options.json {
        println!("{run}");
    }
    let broken: Vec<&Row> = all.iter().filter(|row| row.is_broken()).collect();
    for row in &broken {
        let wrong = row.wrong_scores.unwrap_or(0);
        eprintln!("{}: {} answers of {} are not exact", row.workload.text(), wrong, row.system.text());
    }
    Ok(if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Says where everything runs, and warns if that is a bad place.
fn place(cores: Cores) -> String {
    let watch = Watch::begin(cores);
    sleep(GLANCE);
    if let Some(others) = watch.others().filter(|&others| others > SPOILS) {
        eprintln!("other processes use {:.0}% of the cores; stop them, or name others with --cores", 100.0 * others);
    }
    if !cores.are_two() {
        eprintln!("there is one core only, so separated systems wait for each other; name two with --cores");
    }
    format!("Lookups run on core {}, and events are applied on core {}.", cores.asking, cores.applying)
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
    let mode = options.mode.ok_or("--child needs a --mode")?;
    place::set(Cores::parse(options.cores.as_deref())?, mode);
    let workload = Workload::load(workload)?;
    let outcome: Outcome = match (system, mode) {
        (System::Kvleap | System::KvleapAgain, Mode::Direct) => measure::<Direct>(&workload, mode),
        (System::Kvleap | System::KvleapAgain, Mode::Separated) => measure::<Kvleap>(&workload, mode),
        (System::KvleapLocal, _) => measure::<Separated<Direct>>(&workload, mode),
        (System::DynamoCompressed, _) => measure::<Compressed>(&workload, mode),
        (System::DynamoPositional, _) => measure::<Positional>(&workload, mode),
        (System::KvIndex, _) => caller::<KvIndex>(&workload, mode),
        (System::Smg, _) => caller::<Smg>(&workload, mode),
        (System::Null, _) => caller::<Null>(&workload, mode),
        (System::Reference, _) => caller::<Literal>(&workload, mode),
    };
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(ExitCode::SUCCESS)
}

/// Measures a system that applies events on the caller's thread.
fn caller<S: systems::System>(workload: &Workload, mode: Mode) -> Outcome
where
    S::Writer: 'static,
    <S::Writer as Writer>::Event: 'static,
{
    match mode {
        Mode::Direct => measure::<S>(workload, mode),
        Mode::Separated => measure::<Separated<S>>(workload, mode),
    }
}
