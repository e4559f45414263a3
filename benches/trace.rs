//! Measures how traces are generated, synthesised and analysed, each in a process of its own: rows and bytes per
//! second, and peak memory.
//!
//! With `--test`, the traces are small, only to check that the bench runs.
#![allow(clippy::print_stdout, reason = "the figures are for a terminal")]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;
use std::{env, fs, process};

use kvleap::trace::analyze::{Options, analyze};
use kvleap::trace::synth::scenario::{Kind, Parameters, Scenario};
use kvleap::trace::synth::{self, Limits, Model};
use kvleap::trace::{Output, Row, ToolError, open};

/// The measurements, one process each: a name, the file that it reads and the file that it writes.
const TASKS: [(&str, &str, &str); 5] = [
    ("generate conversations", "", "conversations.jsonl"),
    ("generate agents", "", "agents.jsonl"),
    ("synthesize", "conversations.jsonl", "synthesized.jsonl"),
    ("analyze", "synthesized.jsonl", ""),
    ("analyze", "agents.jsonl", ""),
];

fn main() -> ExitCode {
    let args: Vec<String> = env::args().collect();
    if let [_, task, rows, folder, place] = &*args
        && task == "measure"
    {
        let (name, input, output) = TASKS[place.parse::<usize>().expect("the number of a task")];
        let (rows, folder) = (rows.parse().expect("a number"), Path::new(folder));
        return common::pinned::run(|| {
            measure(name, rows, &folder.join(input), &folder.join(output)).expect("it succeeds");
        });
    }
    let rows = if args.iter().any(|argument| argument == "--test") { "100" } else { "400000" };
    let folder = env::temp_dir().join(format!("kvleap-bench-trace-{}", process::id()));
    fs::create_dir_all(&folder).expect("the folder can be created");
    let done = (0..TASKS.len()).all(|task| {
        let mut child = Command::new(env::current_exe().expect("the path of this program"));
        common::pinned::child(&mut child);
        child.args(["measure", rows]).arg(&folder).arg(task.to_string());
        child.status().expect("the program starts").success()
    });
    fs::remove_dir_all(folder).expect("the folder can be removed");
    assert!(done, "a measurement failed");
    ExitCode::SUCCESS
}

fn measure(task: &str, rows: u64, input: &Path, output: &PathBuf) -> Result<(), ToolError> {
    // An agent's request has about two thousand blocks, so a twentieth of the rows is enough.
    let few = rows / 20;
    let start = Instant::now();
    let (rows, file) = match task {
        "generate conversations" => (write(scenario(Kind::Conversations, rows)?, output)?, output),
        "generate agents" => (write(scenario(Kind::Agents, few)?, output)?, output),
        "synthesize" => {
            let model = Model::learn(open(input, 512)?, |_| {})?;
            let options = synth::Options { num_requests: 2 * rows, ..synth::Options::default() };
            (write(model.requests(&options)?, output)?, output)
        }
        _ => {
            let block_size = if input.ends_with("agents.jsonl") { 64 } else { 512 };
            let analysis = analyze(open(input, block_size)?, &Options::default(), |_| {})?;
            (analysis.requests, &input.to_owned())
        }
    };
    let seconds = start.elapsed().as_secs_f64();
    let bytes = fs::metadata(file).expect("the file exists").len() as f64;
    println!(
        "{task} {}: {rows} rows, {:.0} MB in {seconds:.2} s; {:.0} rows/s, {:.0} MB/s, peak {:.0} MB",
        file.file_name().unwrap_or_default().display(),
        bytes / 1e6,
        rows as f64 / seconds,
        bytes / 1e6 / seconds,
        peak().unwrap_or(f64::NAN) / 1e6
    );
    Ok(())
}

fn scenario(kind: Kind, rows: u64) -> Result<impl Iterator<Item = Result<Row, ToolError>>, ToolError> {
    let block_size = if kind == Kind::Agents { 64 } else { 512 };
    Scenario::new(kind, &Parameters::default(), block_size, Limits::default(), 0)?.requests(rows)
}

fn write(rows: impl Iterator<Item = Result<Row, ToolError>>, path: &Path) -> Result<u64, ToolError> {
    let mut output = Output::create(path)?;
    let mut written = 0;
    for row in rows {
        output.write(&row?)?;
        written += 1;
    }
    output.finish()?;
    Ok(written)
}

/// Returns the peak of the process's resident memory in bytes, if the system reports it.
fn peak() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()? * 1024.0)
}
