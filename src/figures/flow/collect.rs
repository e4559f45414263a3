//! Runs an index with its writer threads for two seconds, with events and lookups.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::{Flow, Quantiles, ShardFigures};
use crate::event::Event;
use crate::figures::{FiguresError, Options, Topic};
use crate::index::{Index, Matches};
use crate::sweep::{Op, Partition, What};

const SECONDS: f64 = 2.0;
const SHARDS: usize = 2;
const PUBLISHERS: usize = 2;
const READERS: usize = 2;
const MAILBOX: usize = 1024;
const REQUESTS: u64 = 3_000;
/// Time between two samples of the mailboxes.
const LOOK: Duration = Duration::from_millis(5);

pub(in crate::figures) fn collect(options: &Options, progress: &mut dyn FnMut(f64)) -> Result<Flow, FiguresError> {
    let partition = Partition { requests: Some(REQUESTS), seed: options.seed, ..Partition::default() };
    let schedule = partition.schedule(|done, total| progress(0.4 * done as f64 / total as f64))?;
    let (engines, blocks_per_engine, block_size) = (schedule.workers, schedule.blocks_per_worker, schedule.block_size);
    let begin = schedule.ops.first().map_or(0, |op| op.at_ns);
    let length = schedule.ops.last().map_or(0, |op| op.at_ns - begin).max(1) as f64;
    let due = |op: &Op| Duration::from_secs_f64(SECONDS * (op.at_ns - begin) as f64 / length);

    // All events of a worker go through one publisher, so that they stay in order.
    let mut events: [Vec<(Duration, Event)>; PUBLISHERS] = Default::default();
    let mut queries: [Vec<(Duration, Box<[u64]>)>; READERS] = Default::default();
    for (op, number) in schedule.ops.into_iter().zip(0..) {
        let due = due(&op);
        match op.what {
            What::Event(event) => events[event.worker.id as usize % PUBLISHERS].push((due, event)),
            What::Lookup(query) => queries[number % READERS].push((due, query)),
        }
    }
    let count = events.iter().map(Vec::len).sum::<usize>() as u64;
    let blocks = events.iter().flatten().map(|(_, event)| event.data.len() as u64).sum();
    if count == 0 {
        return Err(FiguresError::Empty { topic: Topic::Flow, what: "the engines published nothing" });
    }

    let index = Index::builder().shards(SHARDS).mailbox(MAILBOX).seed(options.seed).build()?;
    let over = AtomicBool::new(false);
    let start = Instant::now();
    let (waiting, lookups) = thread::scope(|scope| {
        let feeding: Vec<_> = events.into_iter().map(|part| scope.spawn(|| feed(&index, start, part))).collect();
        let asking: Vec<_> = queries.iter().map(|part| scope.spawn(|| ask(&index, start, part))).collect();
        let watching = scope.spawn(|| watch(&index, &over));
        let fed: Result<Vec<()>, _> = feeding.into_iter().map(|feeder| feeder.join().expect("no panic here")).collect();
        over.store(true, Relaxed);
        let lookups = asking.into_iter().map(|reader| reader.join().expect("no panic here"));
        let lookups = lookups.reduce(|mut all, part| {
            all.add(part).expect("histograms that resize take each other");
            all
        });
        fed.map(|_| (watching.join().expect("no panic here"), lookups.unwrap_or_else(histogram)))
    })?;
    index.flush()?;
    let seconds = start.elapsed().as_secs_f64();
    let status = index.status();
    let shards = status.shards.iter().zip(&waiting).map(|(shard, waiting)| ShardFigures {
        events: shard.applied_events,
        blocks: shard.applied_blocks,
        waiting: Quantiles::of(waiting),
        apply_seconds: shard.apply_time.as_secs_f64(),
        publish_seconds: shard.publish_time.as_secs_f64(),
        generation: shard.generation,
        lag_ns: Quantiles::of(&shard.lag),
        runs: shard.runs,
        indexed_blocks: shard.indexed_blocks,
        held_blocks: shard.held_blocks,
        bytes: shard.bytes,
    });
    Ok(Flow {
        seconds,
        virtual_seconds: length / 1e9,
        engines,
        blocks_per_engine,
        block_size,
        publishers: PUBLISHERS as u32,
        events: count,
        blocks,
        mailbox: MAILBOX as u64,
        shards: shards.collect(),
        readers: READERS as u32,
        lookups: lookups.len(),
        lookup_ns: Quantiles::of(&lookups),
        cores: thread::available_parallelism().map_or(1, |cores| cores.get() as u32),
    })
}

/// Sends each event when it is due.
fn feed(index: &Index, start: Instant, events: Vec<(Duration, Event)>) -> Result<(), crate::index::Closed> {
    for (due, event) in events {
        sleep_until(start + due);
        index.send(event).map_err(|_| crate::index::Closed)?;
    }
    Ok(())
}

/// Looks up each query when it is due, and measures how long that takes.
fn ask(index: &Index, start: Instant, queries: &[(Duration, Box<[u64]>)]) -> Histogram<u64> {
    let mut matches = Matches::new();
    let mut took = histogram();
    for (due, query) in queries {
        sleep_until(start + *due);
        let begin = Instant::now();
        index.find(query, &mut matches);
        took.record(begin.elapsed().as_nanos() as u64).expect("a histogram that resizes takes any value");
    }
    took
}

/// Samples how many events wait in each mailbox until the run is over.
fn watch(index: &Index, over: &AtomicBool) -> Vec<Histogram<u64>> {
    let mut waiting = vec![histogram(); SHARDS];
    while !over.load(Relaxed) {
        thread::sleep(LOOK);
        for (shard, waiting) in index.status().shards.iter().zip(&mut waiting) {
            waiting.record(shard.mailbox_depth as u64).expect("a histogram that resizes takes any value");
        }
    }
    waiting
}

fn sleep_until(at: Instant) {
    let left = at.saturating_duration_since(Instant::now());
    if !left.is_zero() {
        thread::sleep(left);
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new(3).expect("three significant digits are within its limits")
}

impl Quantiles {
    fn of(values: &Histogram<u64>) -> Self {
        Self { p50: values.value_at_quantile(0.5), p99: values.value_at_quantile(0.99), max: values.max() }
    }
}
