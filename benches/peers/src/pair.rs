//! Measures a writer and a reader side by side: their throughput, and how old the answers are.
//!
//! Staleness is measured from the outside, in the same way for every system. An extra worker stores one marker block
//! after another in between the events, and the reader asks for the oldest marker that it has not seen yet. The
//! staleness is the time from just before a marker is handed over until a lookup returns it; it can be too large by the
//! time of one such lookup.
//!
//! Systems with an event thread need a third core for it. With two cores, their figures include waiting for one.

use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kvleap::{Block, Event, EventData, Worker};

use crate::feed::{feed, sample};
use crate::figures::{Beside, Latency, Staleness};
use crate::systems::{Fleet, Reader, System, Writer};
use crate::workload::{Workload, mix};

/// The largest number of blocks written while both threads run, approximately.
const BLOCKS: usize = 3_000_000;
/// Blocks between two markers.
const MARK_EVERY: usize = 2_048;
/// Queries that the reader repeats in turn.
const QUERIES: usize = 1_024;
/// How often the reader repeats all queries when it is alone.
const ROUNDS: usize = 20;

/// The figures of the measurement with two threads.
pub struct Pair {
    pub beside: Beside,
    /// The age of answers with both threads at full speed.
    pub staleness_full: Option<Staleness>,
    /// The age of answers with events at half the rate that the system can apply alone, and a reader that only asks for
    /// markers.
    pub staleness_half: Option<Staleness>,
}

/// Measures `S`, which takes `apply_ns` nanoseconds to apply a block when nothing else runs.
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

/// Writes the last part of the workload beside a reader. With `pace`, the writer takes that many nanoseconds for each
/// block, and the reader only asks for markers. Also returns the lookups per second of the reader alone; with `pace`,
/// these are not measured and 0.
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
        // Pairs with the load in `look`: what was flushed is visible to lookups after it.
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

/// Returns the first request of the workload's tail of about [`BLOCKS`] blocks, or of its second half if that has
/// fewer.
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

/// Measures the lookups per second of a reader without a writer beside it.
fn lookups_alone<R: Reader>(reader: &mut R, queries: &[R::Query]) -> f64 {
    let mut rate = 0.0;
    for _warm_then_real in 0..2 {
        let start = Instant::now();
        for query in queries.iter().cycle().take(ROUNDS * queries.len()) {
            // Each lookup is timed and followed by one for a marker, as beside the writer, so that both throughputs
            // include the same work.
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

/// The state that the two threads share.
struct Board {
    /// Lets both threads begin at the same time.
    ready: Barrier,
    start: Instant,
    /// When each marker was handed over, in nanoseconds since the start.
    sent: Vec<AtomicU64>,
    /// How many markers were handed over. It is stored (release) after `sent` is written, and loaded (acquire) before
    /// `sent` is read.
    issued: AtomicUsize,
    /// Whether everything is written and flushed. It is stored (release) after the flush, and loaded (acquire) before
    /// the last lookups.
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

/// Hands all events over, flushes, and returns the seconds that this took.
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
                // Yields instead of spinning, because an event thread may be waiting for this core.
                thread::yield_now();
            }
        }
        if let Some(number) = marker {
            board.sent[number].store(board.now(), Ordering::Relaxed);
            // Pairs with the load in `look`, for `sent`.
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

/// Looks up queries and markers until the writer is done. A marker that is still not visible is lost, and does not
/// count.
fn look<R: Reader>(reader: &mut R, queries: &[R::Query], board: &Board, markers_only: bool) -> Seen {
    board.ready.wait();
    let start = Instant::now();
    let (mut times, mut ages) = (Vec::new(), Vec::new());
    let mut round = queries.iter().cycle();
    loop {
        // Loaded before the lookups: a marker that they do not find although everything is flushed will never come. Pairs
        // with the store in `run`.
        let over = board.over.load(Ordering::Acquire);
        if let (false, Some(query)) = (markers_only, round.next()) {
            times.push(timed(reader, query));
        }
        // Pairs with the store in `write`, for `sent`.
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

/// Makes the events of the markers: each stores a block that no other worker holds, by a worker that stores nothing
/// else.
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
