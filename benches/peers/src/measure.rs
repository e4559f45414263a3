//! Measures one system on one workload in this process: memory, the cost of writing, and the cost of lookups.

use std::fs;
use std::hint::{black_box, spin_loop};
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant};

use crate::alloc::live_bytes;
use crate::beside;
use crate::feed::{Fed, feed, sample};
use crate::figures::{Figures, Latency, Outcome};
use crate::place::open;
use crate::systems::{Best, Fleet, Mode, Open, Reader, System, Writer};
use crate::workload::{Workload, mix};

/// How many queries are asked back to back.
const SAMPLE: usize = 1_024;

/// Measures `S`. Every pass starts from an empty index.
pub fn measure<S: System>(workload: &Workload, mode: Mode) -> Outcome {
    // One worker more than the workload has, to store the markers of the measurement with two threads.
    let fleet = Fleet { workers: workload.workers + 1, block_size: workload.block_size };
    let loaded = load::<S>(workload, fleet);
    let held = workload.held.max(1) as f64;
    let build_ns = feed(&mut open::<S>(fleet), workload.final_events()).ns;
    let (mut lookup, answers, expected) = ask_all::<S>(workload, fleet);
    let mut best = ask_best::<S>(workload, fleet, &expected);
    let apply_ns = loaded.fed.ns / loaded.fed.blocks;
    let beside = (mode == Mode::Separated).then(|| beside::measure::<S>(workload, fleet, apply_ns));
    let figures = Figures {
        requests: workload.requests() as f64,
        event_blocks: loaded.fed.blocks,
        held_blocks: workload.held as f64,
        distinct_blocks: workload.distinct as f64,
        lookup_ns: Latency::of(&mut lookup),
        best_ns: Latency::of(&mut best),
        back_to_back_ns: loaded.back_to_back_ns,
        apply_ns_per_block: apply_ns,
        apply_p50_ns_per_block: loaded.fed.p50,
        build_ns_per_block: build_ns / held,
        build_ms: build_ns / 1e6,
        heap_bytes: loaded.heap_bytes,
        bytes_per_held_block: loaded.heap_bytes / held,
        bytes_per_distinct_block: loaded.heap_bytes / workload.distinct.max(1) as f64,
        peak_rss_bytes: loaded.peak_rss_bytes,
        beside,
    };
    Outcome { figures, answers }
}

struct Loaded {
    fed: Fed,
    heap_bytes: f64,
    peak_rss_bytes: f64,
    back_to_back_ns: f64,
}

/// Applies the whole stream without lookups in between, then times lookups back to back.
fn load<S: System>(workload: &Workload, fleet: Fleet) -> Loaded {
    let resident = reset_peak_rss();
    let before = live_bytes();
    let mut index = open::<S>(fleet);
    let fed = feed(&mut index, workload.events(0..workload.requests()));
    let heap_bytes = live_bytes().saturating_sub(before) as f64;
    let peak_rss_bytes = peak_rss().saturating_sub(resident) as f64;

    let reader = &mut index.reader;
    let queries = sample(workload, reader, SAMPLE);
    let mut pass = || {
        let start = Instant::now();
        let mut sum = 0;
        for query in &queries {
            reader.all(query, |worker, depth| sum += u64::from(worker ^ depth));
        }
        black_box(sum);
        start.elapsed().as_nanos() as f64 / queries.len() as f64
    };
    pass();
    Loaded { fed, heap_bytes, peak_rss_bytes, back_to_back_ns: pass() }
}

/// Starts the clock for a lookup.
///
/// A fence first waits for the stores of the write before. A reader on a core of its own has no such stores under way,
/// but in the mode `direct` the first atomic operation of a lookup would wait for them, and be charged for it.
fn start() -> Instant {
    // Pairs with nothing: it orders no memory between threads, and is here for the time that it takes.
    fence(Ordering::SeqCst);
    Instant::now()
}

/// Looks up every worker's depth before each request's events. For every lookup, it returns the time, a digest of the
/// answer, and the deepest workers.
fn ask_all<S: System>(workload: &Workload, fleet: Fleet) -> (Vec<u64>, Vec<u64>, Vec<Best>) {
    let (mut times, mut answers, mut bests) = (Vec::new(), Vec::new(), Vec::new());
    interleave::<S>(workload, fleet, |reader, query| {
        let (mut sum, mut workers) = (0, 0);
        let start = start();
        reader.all(query, |worker, depth| {
            sum += u64::from(worker ^ depth);
            workers += 1;
        });
        times.push(start.elapsed().as_nanos() as u64);

        // Once more without the clock, to digest the answer and to check that both lookups give the same.
        let (mut digest, mut best) = (0_u64, Best::default());
        reader.all(query, |worker, depth| {
            sum -= u64::from(worker ^ depth);
            workers -= 1;
            digest = digest.wrapping_add(mix(u64::from(worker) << 32 | u64::from(depth)));
            best.offer(worker, depth);
        });
        assert!(sum == 0 && workers == 0, "two lookups of the same query gave different answers");
        answers.push(digest);
        bests.push(best);
    });
    (times, answers, bests)
}

/// Looks up the deepest workers before each request's events, and returns the times. Panics if an answer differs from
/// `expected`, which [`ask_all`] has picked from every worker's depth.
fn ask_best<S: System>(workload: &Workload, fleet: Fleet, expected: &[Best]) -> Vec<u64> {
    let mut times = Vec::new();
    interleave::<S>(workload, fleet, |reader, query| {
        let start = start();
        let best = reader.best(query);
        let time = start.elapsed().as_nanos() as u64;
        assert_eq!(best, expected[times.len()], "the deepest workers differ from those among all workers");
        times.push(time);
    });
    times
}

/// Goes through the requests: for each, it calls `ask`, then applies the request's events. The query is made just
/// before that, so that it is in cache and the index is not.
fn interleave<S: System>(
    workload: &Workload,
    fleet: Fleet,
    mut ask: impl FnMut(&mut S::Reader, &<S::Reader as Reader>::Query),
) {
    let Open { encode, mut writer, mut reader } = open::<S>(fleet);
    let mut hashes = Vec::new();
    for step in 0..workload.requests() {
        workload.query(step, &mut hashes);
        let query = reader.query(&hashes);
        ask(&mut reader, &query);
        for event in workload.events(step..step + 1) {
            let event = encode(event);
            writer.apply(event);
        }
        writer.flush();
        pause();
    }
}

/// How long the thread that looks up does something else before it does.
const PAUSE: Duration = Duration::from_micros(20);

/// Lets a moment pass, as in a router, where whoever hands an event over does not wait for it. Some systems put the
/// thread to sleep until an event is visible, and a thread that has just woken up is slow.
fn pause() {
    let begin = Instant::now();
    while begin.elapsed() < PAUSE {
        spin_loop();
    }
}

/// Resets the peak of the resident set and returns the set's present size in bytes, or 0 if the system does not report
/// it.
fn reset_peak_rss() -> u64 {
    // Some containers refuse this. The peak is then that of the whole process so far.
    let _ = fs::write("/proc/self/clear_refs", "5");
    status("VmRSS:")
}

fn peak_rss() -> u64 {
    status("VmHWM:")
}

fn status(field: &str) -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024
}
