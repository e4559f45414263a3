//! One process's figures for one system and workload: memory, the cost of writing, the cost of asking.

use std::fs;
use std::hint::black_box;
use std::sync::atomic::{Ordering, fence};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::alloc::live_bytes;
use crate::pair::{self, Beside, Staleness};
use crate::systems::{Best, Fleet, Reader, System, Writer};
use crate::workload::{Workload, mix};

/// Blocks handed over between two readings of the clock: enough that one flush is lost in them, few enough that the
/// events are still warm, as they are when they have just been received.
const CHUNK: usize = 32_768;

/// Queries asked back to back.
const SAMPLE: usize = 1_024;

/// Everything measured, in the units of the names. What the floor of the harness is, only the null system can say.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Figures {
    pub requests: f64,
    pub event_blocks: f64,
    pub held_blocks: f64,
    pub distinct_blocks: f64,
    /// Every worker's depth read out, between writes.
    pub lookup_ns: Latency,
    /// The deepest workers only, between writes.
    pub best_ns: Latency,
    /// Every worker's depth read out, one query after the other.
    pub back_to_back_ns: f64,
    /// Wall time from the first event handed over until a flush returns, over all events.
    pub apply_ns_per_block: f64,
    /// The median over the chunks that were handed over at a time: without the tables' growth, and without whatever
    /// else the machine was doing.
    pub apply_p50_ns_per_block: f64,
    /// As `apply_ns_per_block`, for the shortest stream that builds the final state.
    pub build_ns_per_block: f64,
    pub build_ms: f64,
    pub heap_bytes: f64,
    pub bytes_per_held_block: f64,
    pub bytes_per_distinct_block: f64,
    /// The peak of the resident set while the events were applied, above what the workload itself takes.
    pub peak_rss_bytes: f64,
    pub pair: Beside,
    /// How old answers are while events come at half the rate that the system can apply; and at full speed.
    pub staleness_us: Option<Staleness>,
    pub staleness_full_us: Option<Staleness>,
}

/// Service times of single lookups.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Latency {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
    pub mean: f64,
}

impl Latency {
    /// Exact quantiles (nearest rank) of `samples`; all zero where there are none.
    pub fn of(samples: &mut [u64]) -> Self {
        samples.sort_unstable();
        let at = |quantile: f64| {
            let rank = (quantile * samples.len() as f64).ceil() as usize;
            samples.get(rank.saturating_sub(1)).map_or(0.0, |&sample| sample as f64)
        };
        let mean = samples.iter().sum::<u64>() as f64 / samples.len().max(1) as f64;
        Self { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: at(1.0), mean }
    }
}

/// What a process hands back.
#[derive(Debug, Serialize, Deserialize)]
pub struct Outcome {
    pub figures: Figures,
    /// A digest of every answer, by request.
    pub answers: Vec<u64>,
}

/// Measures `S`. Every pass starts from an empty index.
pub fn measure<S: System>(workload: &Workload) -> Outcome {
    // One worker more than speak, for the markers of the two-thread measurement.
    let fleet = Fleet { workers: workload.workers + 1, block_size: workload.block_size };
    let loaded = load::<S>(workload, fleet);
    let held = workload.held.max(1) as f64;
    let build_ns = feed(&mut S::open(fleet).0, workload.final_events()).ns;
    let (mut lookup, answers, expected) = ask_all::<S>(workload, fleet);
    let mut best = ask_best::<S>(workload, fleet, &expected);
    let pair = pair::measure::<S>(workload, fleet, loaded.fed.ns / loaded.fed.blocks);
    let figures = Figures {
        requests: workload.requests() as f64,
        event_blocks: loaded.fed.blocks,
        held_blocks: workload.held as f64,
        distinct_blocks: workload.distinct as f64,
        lookup_ns: Latency::of(&mut lookup),
        best_ns: Latency::of(&mut best),
        back_to_back_ns: loaded.back_to_back_ns,
        apply_ns_per_block: loaded.fed.ns / loaded.fed.blocks,
        apply_p50_ns_per_block: loaded.fed.p50,
        build_ns_per_block: build_ns / held,
        build_ms: build_ns / 1e6,
        heap_bytes: loaded.heap_bytes,
        bytes_per_held_block: loaded.heap_bytes / held,
        bytes_per_distinct_block: loaded.heap_bytes / workload.distinct.max(1) as f64,
        peak_rss_bytes: loaded.peak_rss_bytes,
        pair: pair.beside,
        staleness_us: pair.staleness_half,
        staleness_full_us: pair.staleness_full,
    };
    Outcome { figures, answers }
}

struct Loaded {
    fed: Fed,
    heap_bytes: f64,
    peak_rss_bytes: f64,
    back_to_back_ns: f64,
}

/// Applies the whole stream without a question in between, then asks back to back.
fn load<S: System>(workload: &Workload, fleet: Fleet) -> Loaded {
    let resident = reset_peak_rss();
    let before = live_bytes();
    let (mut writer, mut reader) = S::open(fleet);
    let fed = feed(&mut writer, workload.events(0..workload.requests()));
    let heap_bytes = live_bytes().saturating_sub(before) as f64;
    let peak_rss_bytes = peak_rss().saturating_sub(resident) as f64;

    let queries = sample(workload, &reader, SAMPLE);
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

/// Up to `count` queries, evenly out of all requests.
pub fn sample<R: Reader>(workload: &Workload, reader: &R, count: usize) -> Vec<R::Query> {
    let mut hashes = Vec::new();
    (0..workload.requests())
        .step_by(workload.requests().div_ceil(count))
        .map(|step| {
            workload.query(step, &mut hashes);
            reader.query(&hashes)
        })
        .collect()
}

/// What was written, and how long it took.
pub struct Fed {
    pub ns: f64,
    pub blocks: f64,
    /// Nanoseconds per block of the median chunk.
    pub p50: f64,
}

/// Hands `events` over chunk by chunk, flushing after each; their making is not timed.
pub fn feed<W: Writer>(writer: &mut W, events: impl Iterator<Item = kvleap::Event>) -> Fed {
    let mut fed = Fed { ns: 0.0, blocks: 0.0, p50: 0.0 };
    let mut rates = Vec::new();
    let mut chunk = Vec::new();
    let mut blocks = 0;
    let mut events = events.peekable();
    while let Some(event) = events.next() {
        blocks += event.data.len();
        chunk.push(writer.encode(event));
        if blocks >= CHUNK || events.peek().is_none() {
            let start = Instant::now();
            chunk.drain(..).for_each(|event| writer.apply(event));
            writer.flush();
            let ns = start.elapsed().as_nanos() as f64;
            rates.push(ns / blocks as f64);
            fed.ns += ns;
            fed.blocks += blocks as f64;
            blocks = 0;
        }
    }
    rates.sort_unstable_by(f64::total_cmp);
    fed.p50 = rates.get(rates.len() / 2).copied().unwrap_or(0.0);
    fed
}

/// Starts the clock for a lookup.
///
/// The stores of the write before it are waited for first: a reader on a core of its own has none of them under way,
/// and one that needs an atomic operation would be charged for them.
fn start() -> Instant {
    fence(Ordering::SeqCst);
    Instant::now()
}

/// Asks for every worker's depth before each request's events. Returns the times, a digest of every answer, and
/// its deepest workers.
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

        // Once more without the clock: what was answered, to the last worker.
        let (mut digest, mut best) = (0_u64, Best::default());
        reader.all(query, |worker, depth| {
            sum -= u64::from(worker ^ depth);
            workers -= 1;
            digest = digest.wrapping_add(mix(u64::from(worker) << 32 | u64::from(depth)));
            best.offer(worker, depth);
        });
        assert!(sum == 0 && workers == 0, "the same question twice got two answers");
        answers.push(digest);
        bests.push(best);
    });
    (times, answers, bests)
}

/// Asks for the deepest workers before each request's events.
fn ask_best<S: System>(workload: &Workload, fleet: Fleet, expected: &[Best]) -> Vec<u64> {
    let mut times = Vec::new();
    interleave::<S>(workload, fleet, |reader, query| {
        let start = start();
        let best = reader.best(query);
        let time = start.elapsed().as_nanos() as u64;
        assert_eq!(best, expected[times.len()], "the deepest workers are not the deepest of all");
        times.push(time);
    });
    times
}

/// Every request in turn: `ask`, then its events. The query is made just before, so that it is in cache and the index
/// is not.
fn interleave<S: System>(
    workload: &Workload,
    fleet: Fleet,
    mut ask: impl FnMut(&mut S::Reader, &<S::Reader as Reader>::Query),
) {
    let (mut writer, mut reader) = S::open(fleet);
    let mut hashes = Vec::new();
    for step in 0..workload.requests() {
        workload.query(step, &mut hashes);
        let query = reader.query(&hashes);
        ask(&mut reader, &query);
        for event in workload.events(step..step + 1) {
            let event = writer.encode(event);
            writer.apply(event);
        }
        writer.flush();
    }
}

/// Starts a new peak of the resident set and returns the set's size, in bytes. Where the system does not say, 0.
fn reset_peak_rss() -> u64 {
    // Refused in some containers; then the peak is that of the whole process so far.
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
