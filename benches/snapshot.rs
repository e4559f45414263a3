//! Measures how a snapshot of ten million blocks is saved and restored, each in a process of its own: time, size of the
//! file, and memory.
//!
//! With `--test`, the snapshot is small, only to check that the bench runs.
#![allow(clippy::print_stdout, reason = "the figures are for a terminal")]

mod common;

use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Instant;
use std::{env, fs, process};

use common::pinned::apart;
use kvleap::service::snapshot::{restore, save};
use kvleap::service::{Key, Models, Publisher};
use kvleap::{Block, Event, EventData, Index, Matches, Worker};

/// Workers; each has the same number of sequences.
const WORKERS: u64 = 100;
/// Blocks of a sequence's three parts: a system prompt that many sequences share, a conversation that two workers hold,
/// and a part that only one worker holds.
const PARTS: [u64; 3] = [10, 30, 60];

fn main() -> ExitCode {
    let args: Vec<String> = env::args().collect();
    if let [_, task, sequences, path] = &*args
        && (task == "save" || task == "restore")
    {
        let sequences = sequences.parse().expect("a number");
        return common::pinned::run(|| match task.as_str() {
            "save" => measure_save(sequences, path.as_ref()),
            _ => measure_restore(sequences, path.as_ref()),
        });
    }
    let sequences = if args.iter().any(|argument| argument == "--test") { "10" } else { "1000" };
    let path = env::temp_dir().join(format!("kvleap-bench-snapshot-{}", process::id()));
    let done = ["save", "restore"].into_iter().all(|task| {
        let mut child = Command::new(env::current_exe().expect("the path of this program"));
        common::pinned::child(&mut child);
        child.args([task, sequences]).arg(&path).status().expect("the program starts").success()
    });
    fs::remove_file(path).expect("the file can be removed");
    assert!(done, "a measurement failed");
    ExitCode::SUCCESS
}

/// Scrambles a number, so that it looks like a hash.
fn mix(n: u64) -> u64 {
    let n = (n ^ (n >> 31)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (n ^ (n >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) ^ n
}

/// Returns the local hashes of a worker's sequence.
fn locals(worker: u64, sequence: u64) -> impl Iterator<Item = u64> {
    let [system, shared, own] = PARTS;
    let pair = worker / 2;
    let part = |what: u64, of: u64, blocks| (0..blocks).map(move |block| mix(mix(what << 32 | of) + block));
    part(1, sequence % 20, system).chain(part(2, pair << 20 | sequence, shared)).chain(part(
        3,
        worker << 20 | sequence,
        own,
    ))
}

fn measure_save(sequences: u64, path: &Path) {
    let models = Models::new(Index::builder(), 1);
    let model = apart(|| models.get_or_add(&Key::new("model"), 16)).expect("a new model");
    for id in 0..WORKERS {
        let worker = Worker::new(id, 0);
        model.publishers().put(&Arc::new(Publisher::http(worker)));
        for sequence in 0..sequences {
            // Equal prefixes have equal sequence hashes, as with engines of one release.
            let mut prefix = 0;
            let named = locals(id, sequence).map(|local| {
                prefix = mix(prefix ^ local);
                Block { sequence: prefix, local }
            });
            let data = EventData::Stored { parent: None, blocks: named.collect() };
            model.index().send(Event { worker, id: sequence, data }).expect("the index is open");
        }
    }
    model.index().flush().expect("the index is open");
    let before = memory("VmRSS");
    reset_peak();
    let saved = save(path, &models, &[]).expect("the file can be written");
    println!(
        "save: {} blocks, {:.0} MB in {:.2} s, longest pause {:.0} ms; memory {:.0} MB before, peak {:.0} MB",
        saved.blocks,
        saved.bytes as f64 / 1e6,
        saved.took.as_secs_f64(),
        saved.longest_pause.as_secs_f64() * 1e3,
        before / 1e6,
        memory("VmHWM") / 1e6
    );
}

fn measure_restore(sequences: u64, path: &Path) {
    let start = Instant::now();
    let (models, _) = apart(|| restore(path, Models::new(Index::builder(), 1))).expect("the snapshot is intact");
    let seconds = start.elapsed().as_secs_f64();
    let model = models.get("model", Key::DEFAULT_GROUP, "").expect("the model is in the snapshot");
    let held: u64 = model.index().status().shards.iter().map(|shard| shard.held_blocks).sum();
    println!(
        "restore: {held} blocks held in {seconds:.2} s; memory {:.0} MB, peak {:.0} MB",
        memory("VmRSS") / 1e6,
        memory("VmHWM") / 1e6
    );
    let mut matches = Matches::new();
    let query: Vec<u64> = locals(WORKERS - 1, sequences - 1).collect();
    model.index().find(&query, &mut matches);
    assert_eq!(matches.depth(Worker::new(WORKERS - 1, 0)), query.len() as u32);
}

/// Resets the peak of the resident memory, if the system supports it.
fn reset_peak() {
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// Returns a memory figure of this process in bytes, or NaN if the system does not report it.
fn memory(what: &str) -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':'));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok());
    kilobytes.unwrap_or(f64::NAN) * 1024.0
}
