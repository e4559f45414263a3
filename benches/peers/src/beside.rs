//! Measures a system whose events are applied on one core, while the thread on the other core feeds it and looks up: how
//! old its answers are, and how long its lookups take meanwhile. There is no third thread.
//!
//! Staleness is measured from the outside, in the same way for every system. An extra worker stores one marker block
//! after another in between the events, and the feeding thread asks for the oldest marker that it has not seen yet. The
//! staleness is the time from just before a marker is handed over until a lookup returns it; it can be too large by the
//! time of one such lookup and of handing over one event.

use std::hint::{black_box, spin_loop};
use std::time::{Duration, Instant};

use kvleap::{Block, Event, EventData, Worker};

use crate::feed::{feed, sample};
use crate::figures::{Beside, Latency, Staleness};
use crate::place::open;
use crate::systems::{Fleet, Reader, System, Writer};
use crate::workload::{Workload, mix};

/// The largest number of blocks written, approximately.
const BLOCKS: usize = 3_000_000;
/// Blocks between two markers.
const MARK_EVERY: usize = 2_048;
/// Queries that are asked in turn.
const QUERIES: usize = 1_024;
/// How long to wait for the last markers. Those that are not visible then are lost, and do not count.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the feeding thread does until the next event is due.
#[derive(Clone, Copy, PartialEq)]
enum Meanwhile {
    /// It asks for the oldest marker that is out.
    Markers,
    /// It asks queries, and times them.
    Queries,
}

/// Measures `S`, which takes `apply_ns` nanoseconds to apply a block at full speed.
pub fn measure<S: System>(workload: &Workload, fleet: Fleet, apply_ns: f64) -> Beside {
    let full = run::<S>(workload, fleet, None, Meanwhile::Markers);
    let half = Some(2.0 * apply_ns);
    Beside {
        held_back: full.handing_over,
        staleness_full_us: full.staleness,
        staleness_us: run::<S>(workload, fleet, half, Meanwhile::Markers).staleness,
        lookup_ns: run::<S>(workload, fleet, half, Meanwhile::Queries).lookups,
    }
}

/// An event in the system's own type.
struct Due<E> {
    blocks: usize,
    /// Whether it is the next marker.
    is_marker: bool,
    event: E,
}

struct Seen {
    /// The share of the time that passed in handing events over.
    handing_over: f64,
    lookups: Latency,
    staleness: Option<Staleness>,
}

/// Writes the last part of the workload. With `pace`, each block is given that many nanoseconds; without, events are
/// handed over as fast as the system takes them.
fn run<S: System>(workload: &Workload, fleet: Fleet, pace: Option<f64>, meanwhile: Meanwhile) -> Seen {
    let mut index = open::<S>(fleet);
    let split = last_blocks(workload);
    feed(&mut index, workload.events(0..split));
    let queries = sample(workload, &index.reader, QUERIES);
    let mut queries = queries.iter().cycle();

    let mut due = Vec::new();
    let mut markers = 0;
    let mut blocks = 0;
    for event in workload.events(split..workload.requests()) {
        let before = blocks / MARK_EVERY;
        blocks += event.data.len();
        due.push(Due { blocks: event.data.len(), is_marker: false, event: (index.encode)(event) });
        if blocks / MARK_EVERY > before {
            due.push(Due { blocks: 1, is_marker: true, event: (index.encode)(marker(fleet, markers)) });
            markers += 1;
        }
    }

    let (reader, writer) = (&mut index.reader, &mut index.writer);
    let (mut sent, mut ages, mut times) = (Vec::with_capacity(markers), Vec::with_capacity(markers), Vec::new());
    let mut handing_over = Duration::ZERO;
    let mut given = 0;
    let begin = Instant::now();
    let mut look = |sent: &[Instant], ages: &mut Vec<u64>| {
        if let Some(&at) = sent.get(ages.len())
            && is_visible(reader, ages.len())
        {
            ages.push(at.elapsed().as_nanos() as u64);
        } else if meanwhile == Meanwhile::Queries
            && let Some(query) = queries.next()
        {
            times.push(timed(reader, query));
        } else {
            spin_loop();
        }
    };
    for Due { blocks, is_marker, event } in due {
        if let Some(pace) = pace {
            let due = Duration::from_nanos((given as f64 * pace) as u64);
            while begin.elapsed() < due {
                look(&sent, &mut ages);
            }
        }
        // Whoever is behind with feeding looks as well, or its own delay would count as the index's.
        look(&sent, &mut ages);
        let before = Instant::now();
        if is_marker {
            sent.push(before);
        }
        writer.apply(event);
        handing_over += before.elapsed();
        given += blocks;
    }
    let handing_over = handing_over.as_secs_f64() / begin.elapsed().as_secs_f64();
    let last = Instant::now();
    while ages.len() < sent.len() && last.elapsed() < PATIENCE {
        look(&sent, &mut ages);
    }
    let staleness = (!ages.is_empty()).then(|| {
        let markers = ages.len() as f64;
        let ages = Latency::of(&mut ages);
        Staleness { p50: ages.p50 / 1e3, p99: ages.p99 / 1e3, max: ages.max / 1e3, markers }
    });
    Seen { handing_over, lookups: Latency::of(&mut times), staleness }
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

fn timed<R: Reader>(reader: &mut R, query: &R::Query) -> u64 {
    let start = Instant::now();
    let mut sum = 0;
    reader.all(query, |worker, depth| sum += u64::from(worker ^ depth));
    black_box(sum);
    start.elapsed().as_nanos() as u64
}

/// Makes the event of a marker: the last worker, which stores nothing else, stores a block that no other worker holds.
fn marker(fleet: Fleet, number: usize) -> Event {
    let hash = marker_hash(number);
    let blocks = vec![Block { sequence: hash, local: hash }];
    let worker = Worker::new(u64::from(fleet.workers - 1), 0);
    Event { worker, id: number as u64, data: EventData::Stored { parent: None, blocks } }
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
