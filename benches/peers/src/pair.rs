//! A writer and a reader side by side: what each leaves the other, and how old the answers are.
//!
//! Staleness is measured from the outside, the same for everyone: a worker of its own stores one marker block after
//! another in between the events, and the reader asks for the oldest marker it has not seen yet. The time from just
//! before a marker is handed over until a lookup returns it is the staleness, up to the time of one such lookup.
//!
//! Systems with an event thread need a third core for it: on two, their figures include waiting for one.

use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kvleap::{Block, Event, EventData, Worker};
use serde::{Deserialize, Serialize};

use crate::measure::{Latency, feed, sample};
use crate::systems::{Fleet, Reader, System, Writer};
use crate::workload::{Workload, mix};

/// Blocks written while both threads run, at most.
const BLOCKS: usize = 3_000_000;
/// Blocks between two markers.
const MARK_EVERY: usize = 2_048;
/// Queries the reader goes round in.
const QUERIES: usize = 1_024;
/// How often the reader goes round when it is alone.
const ROUNDS: usize = 20;

/// The figures of two threads.
pub struct Pair {
    pub beside: Beside,
    /// With both at full speed.
    pub staleness_full: Option<Staleness>,
    /// With events at half the rate that the system can apply alone, and a reader that asks for nothing but the marker.
    pub staleness_half: Option<Staleness>,
}

/// A writer and a reader, both at full speed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Beside {
    pub blocks_per_s: f64,
    pub lookups_per_s: f64,
    /// The share of the throughput it has alone that the reader keeps.
    pub reader_kept: f64,
    pub lookup_ns: Latency,
}

/// The age of answers; absent where no marker was ever seen.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Staleness {
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
    pub markers: f64,
}

/// Measures `S`, which applies a block in `apply_ns` when nothing else goes on.
pub fn measure<S: System>(workload: &Workload, fleet: Fleet, apply_ns: f64) -> Pair {
    let (full, alone) = run::<S>(workload, fleet, None);
    let (half, _) = run::<S>(workload, fleet, Some(2.0 * apply_ns));
    let lookups_per_s = full.lookups as f64 / full.reader_s;
    let beside = Beside {
        blocks_per_s: full.blocks as f64 / full.writer_s,
        lookups_per_s,
        reader_kept: lookups_per_s / alone,
        lookup_ns: full.latency,
    };
    Pair { beside, staleness_full: full.staleness, staleness_half: half.staleness }
}

struct Both {
    blocks: usize,
    writer_s: f64,
    lookups: usize,
    reader_s: f64,
    latency: Latency,
    staleness: Option<Staleness>,
}

/// Writes the last part of the workload beside a reader. With `pace`, that many nanoseconds are taken for each block and
/// the reader looks out for markers only. Also returns the lookups per second of the reader alone.
fn run<S: System>(workload: &Workload, fleet: Fleet, pace: Option<f64>) -> (Both, f64) {
    let (mut writer, mut reader) = S::open(fleet);
    let split = last_blocks(workload);
    feed(&mut writer, workload.events(0..split));
    let queries = sample(workload, &reader, QUERIES);
    let alone = if pace.is_none() { lookups_alone(&mut reader, &queries) } else { 0.0 };

    let mut events = Vec::new();
    let mut markers = Markers::new(fleet);
    let mut blocks = 0;
    for event in workload.events(split..workload.requests()) {
        let before = blocks / MARK_EVERY;
        blocks += event.data.len();
        events.push((event.data.len(), None, writer.encode(event)));
        if blocks / MARK_EVERY > before {
            let (number, event) = markers.next();
            events.push((1, Some(number), writer.encode(event)));
        }
    }

    let board = &Board::new(markers.count);
    let both = thread::scope(|scope| {
        let looking = scope.spawn(move || look(&mut reader, &queries, board, pace.is_some()));
        let writer_s = write(&mut writer, events, board, pace);
        board.over.store(true, Ordering::Release);
        let seen = looking.join().expect("the reader does not panic");
        Both {
            blocks,
            writer_s,
            lookups: seen.lookups,
            reader_s: seen.seconds,
            latency: seen.latency,
            staleness: seen.staleness,
        }
    });
    (both, alone)
}

/// The first request of a tail of the workload of about [`BLOCKS`] blocks, or its second half where that is less.
fn last_blocks(workload: &Workload) -> usize {
    let half = workload.requests() / 2;
    let mut blocks = 0;
    (half..workload.requests())
        .rev()
        .find(|&step| {
            blocks += workload.events(step..step + 1).map(|event| event.data.len()).sum::<usize>();
            blocks >= BLOCKS
        })
        .unwrap_or(half)
}

/// Lookups per second with nobody beside.
fn lookups_alone<R: Reader>(reader: &mut R, queries: &[R::Query]) -> f64 {
    let mut rate = 0.0;
    for _warm_then_real in 0..2 {
        let start = Instant::now();
        for query in queries.iter().cycle().take(ROUNDS * queries.len()) {
            // Clocked and followed by a look for a marker, as beside the writer: both throughputs contain the same.
            black_box((timed(reader, query), is_visible(reader, 0)));
        }
        rate = (ROUNDS * queries.len()) as f64 / start.elapsed().as_secs_f64();
    }
    rate
}

fn timed<R: Reader>(reader: &mut R, query: &R::Query) -> u64 {
    let start = Instant::now();
    let mut sum = 0;
    reader.all(query, |worker, depth| sum += u64::from(worker ^ depth));
    black_box(sum);
    start.elapsed().as_nanos() as u64
}

/// What the two threads tell each other.
struct Board {
    /// Neither begins before the other is there.
    ready: Barrier,
    start: Instant,
    /// When each marker was handed over, in nanoseconds since the start.
    sent: Vec<AtomicU64>,
    /// How many markers were handed over. Released after `sent` is written, acquired before it is read.
    issued: AtomicUsize,
    /// Everything is written and flushed.
    over: AtomicBool,
}

impl Board {
    fn new(markers: usize) -> Self {
        Self {
            ready: Barrier::new(2),
            start: Instant::now(),
            sent: (0..markers).map(|_| AtomicU64::new(0)).collect(),
            issued: AtomicUsize::new(0),
            over: AtomicBool::new(false),
        }
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }
}

/// Hands everything over and flushes; returns the seconds it took.
fn write<W: Writer>(
    writer: &mut W,
    events: Vec<(usize, Option<usize>, W::Event)>,
    board: &Board,
    pace: Option<f64>,
) -> f64 {
    board.ready.wait();
    let start = Instant::now();
    let mut blocks = 0;
    for (size, marker, event) in events {
        if let Some(pace) = pace {
            let due = Duration::from_nanos((blocks as f64 * pace) as u64);
            while start.elapsed() < due {
                // Not a spin: an event thread may be waiting for this core.
                thread::yield_now();
            }
        }
        if let Some(number) = marker {
            board.sent[number].store(board.now(), Ordering::Relaxed);
            board.issued.store(number + 1, Ordering::Release);
        }
        writer.apply(event);
        blocks += size;
    }
    writer.flush();
    start.elapsed().as_secs_f64()
}

struct Seen {
    lookups: usize,
    seconds: f64,
    latency: Latency,
    staleness: Option<Staleness>,
}

/// Asks until the writer is done and every marker was seen; one that is still missing then is lost.
fn look<R: Reader>(reader: &mut R, queries: &[R::Query], board: &Board, markers_only: bool) -> Seen {
    board.ready.wait();
    let start = Instant::now();
    let (mut times, mut ages) = (Vec::new(), Vec::new());
    let mut round = queries.iter().cycle();
    loop {
        // Read first: what is missing although this was already true will never come.
        let over = board.over.load(Ordering::Acquire);
        if let (false, Some(query)) = (markers_only, round.next()) {
            times.push(timed(reader, query));
        }
        let issued = board.issued.load(Ordering::Acquire);
        while ages.len() < issued {
            if !is_visible(reader, ages.len()) {
                break;
            }
            ages.push(board.now() - board.sent[ages.len()].load(Ordering::Relaxed));
        }
        if over {
            break;
        }
    }
    let staleness = (!ages.is_empty()).then(|| {
        let markers = ages.len() as f64;
        let ages = Latency::of(&mut ages);
        Staleness { p50: ages.p50 / 1e3, p99: ages.p99 / 1e3, max: ages.max / 1e3, markers }
    });
    let (lookups, seconds) = (times.len(), start.elapsed().as_secs_f64());
    Seen { lookups, seconds, latency: Latency::of(&mut times), staleness }
}

/// Stores of blocks that nobody else has, by a worker that does nothing else.
struct Markers {
    worker: Worker,
    count: usize,
}

impl Markers {
    fn new(fleet: Fleet) -> Self {
        Self { worker: Worker::new(u64::from(fleet.workers - 1), 0), count: 0 }
    }

    fn next(&mut self) -> (usize, Event) {
        let number = self.count;
        self.count += 1;
        let hash = marker_hash(number);
        let blocks = vec![Block { sequence: hash, local: hash }];
        (number, Event { worker: self.worker, id: number as u64, data: EventData::Stored { parent: None, blocks } })
    }
}

fn is_visible<R: Reader>(reader: &mut R, marker: usize) -> bool {
    let query = reader.query(&[marker_hash(marker)]);
    let mut found = false;
    reader.all(&query, |_, _| found = true);
    found
}

fn marker_hash(number: usize) -> u64 {
    mix(3 << 62 | number as u64)
}
