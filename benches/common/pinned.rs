//! `cargo bench -- --cores 0,1`: a bench on the cores that it names.

use std::env;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};
use std::sync::OnceLock;

use criterion::Criterion;

use super::cores::{Cores, SPOILS, Watch, pin};

/// Names the cores to the process that measures.
const VARIABLE: &str = "KVLEAP_BENCH_CORES";

static CORES: OnceLock<Cores> = OnceLock::new();

/// Takes `--cores` and what follows it out of the arguments of this process; Criterion refuses arguments that it does
/// not know. Returns the cores, if they were named.
fn without_cores(args: &mut Vec<String>) -> Option<String> {
    let place = args.iter().position(|argument| argument == "--cores")?;
    Some(args.drain(place..args.len().min(place + 2)).nth(1).unwrap_or_default())
}

/// Lets a process measure on the cores that were named to this one. What it measures, it has to [`run`].
pub(crate) fn child(command: &mut Command) {
    if let Some(cores) = without_cores(&mut env::args().collect()) {
        command.env(VARIABLE, cores);
    }
}

/// Runs a bench. With `--cores`, this thread is pinned to the first of them, and the bench ends with a line that names
/// the cores and says how busy other processes kept them.
pub(crate) fn run(bench: impl FnOnce()) -> ExitCode {
    let mut args: Vec<String> = env::args().collect();
    if let Some(cores) = without_cores(&mut args) {
        let failed = Command::new(&args[0]).args(&args[1..]).env(VARIABLE, cores).exec();
        eprintln!("{}: {failed}", args[0]);
        return ExitCode::from(2);
    }
    let Ok(named) = env::var(VARIABLE) else {
        bench();
        return ExitCode::SUCCESS;
    };
    let cores = match Cores::parse(Some(&named)) {
        Ok(cores) => *CORES.get_or_init(|| cores),
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    pin(cores.asking);
    let watch = Watch::begin(cores);
    bench();
    let others = watch.others();
    let share = others.map_or("an unknown share".to_owned(), |others| format!("{:.0}%", 100.0 * others));
    println!("on cores {} and {}, of which other processes used {share}", cores.asking, cores.applying);
    if others.is_some_and(|others| others > SPOILS) {
        println!("these figures say little: stop the other processes, or name other cores");
    }
    ExitCode::SUCCESS
}

/// Like [`run`], for benches of criterion.
pub(crate) fn criterion(benches: fn()) -> ExitCode {
    run(|| {
        benches();
        Criterion::default().configure_from_args().final_summary();
    })
}

/// Runs `start` on the core where events are applied, so that the threads that it starts stay there.
pub(crate) fn apart<T>(start: impl FnOnce() -> T) -> T {
    match CORES.get() {
        Some(cores) => cores.start(start),
        None => start(),
    }
}
