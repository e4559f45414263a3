//! Three threads, each of which notes when it did what; and the milliseconds in which all of them run.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use super::{Lookup, Run, Timeline, What, Work};
use crate::figures::{FiguresError, Options, Topic};
use crate::sweep::{Load, Op, Partition, What as Happens};
use crate::{Builder, Event, LocalReader, LocalWriter, Matches};

/// Of the whole run, and of the excerpt.
const RUN: Duration = Duration::from_millis(600);
const EXCERPT_NS: u64 = 2_000_000;
/// From one possible excerpt to the next.
const STEP_NS: u64 = 50_000;
/// The writer rests between batches, and a reader between a few lookups: three threads that never rest cannot all be
/// seen running on two cores.
const BATCH: usize = 12;
const LOOKUPS: usize = 4;
const REST: Duration = Duration::from_micros(100);
const READERS: usize = 2;
const REQUESTS: u64 = 4_000;

pub(in crate::figures) fn collect(options: &Options) -> Result<Timeline, FiguresError> {
    let partition = Partition { requests: Some(REQUESTS), seed: options.seed, ..Partition::default() };
    let load = Load::new(partition.schedule(|_, _| ())?)?;
    let (mut writer, reader) = Builder::default().seed(options.seed).build_local()?;
    for event in &load.warm {
        // What an export holds is accepted.
        let _ = writer.apply(event);
    }
    writer.publish();
    let (mut events, mut queries) = (Vec::new(), Vec::new());
    for Op { what, .. } in load.ops {
        match what {
            Happens::Event(event) => events.push(event),
            Happens::Lookup(query) => queries.push(query),
        }
    }

    let over = AtomicBool::new(false);
    let start = Instant::now();
    let (writer, readers) = thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS)
            .map(|number| {
                let (reader, queries, over) = (reader.clone(), &queries, &over);
                scope.spawn(move || ask(&reader, &queries[number * queries.len() / READERS..], start, over))
            })
            .collect();
        let work = write(&mut writer, &events, start);
        over.store(true, Relaxed);
        (work, readers.into_iter().map(|reader| reader.join().expect("no panic here")).collect::<Vec<_>>())
    });
    excerpt(&writer, &readers).ok_or(FiguresError::Empty {
        topic: Topic::Timeline,
        what: "one of the three threads never ran beside the others; try again on a machine that is less busy",
    })
}

/// Applies events in batches and publishes after each, until the time is up.
fn write(writer: &mut LocalWriter, events: &[Event], start: Instant) -> Vec<Work> {
    let mut work = Vec::new();
    let (mut generation, mut batches) = (1, events.chunks(BATCH));
    while start.elapsed() < RUN
        && let Some(batch) = batches.next()
    {
        for event in batch {
            let from = start.elapsed();
            let _ = writer.apply(event);
            work.push(done(from, start.elapsed(), What::Apply(event.data.len() as u64)));
        }
        let from = start.elapsed();
        writer.publish();
        generation += 1;
        work.push(done(from, start.elapsed(), What::Publish(generation)));
        thread::sleep(REST);
    }
    work
}

fn done(from: Duration, to: Duration, what: What) -> Work {
    Work { from_ns: from.as_nanos() as u64, to_ns: to.as_nanos() as u64, what }
}

/// Looks up one query after another, over again, until the writer is done.
fn ask(reader: &LocalReader, queries: &[Box<[u64]>], start: Instant, over: &AtomicBool) -> Vec<Lookup> {
    let mut lookups = Vec::new();
    let mut matches = Matches::new();
    for (query, number) in queries.iter().cycle().zip(1..) {
        if over.load(Relaxed) {
            break;
        }
        let from = start.elapsed();
        reader.find(query, &mut matches);
        let to = start.elapsed();
        let (generation, events) = matches.watermarks().next().map_or((0, 0), |mark| (mark.generation, mark.events));
        lookups.push(Lookup { from_ns: from.as_nanos() as u64, to_ns: to.as_nanos() as u64, generation, events });
        if number % LOOKUPS == 0 {
            thread::sleep(REST);
        }
    }
    lookups
}

/// The part of a run in which the longest pause of any thread is shortest; `None` if in every part one does nothing.
fn excerpt(writer: &[Work], readers: &[Vec<Lookup>]) -> Option<Timeline> {
    let work: Vec<(u64, u64)> = writer.iter().map(|work| (work.from_ns, work.to_ns)).collect();
    let lookups = readers.iter().map(|reader| reader.iter().map(|lookup| (lookup.from_ns, lookup.to_ns)).collect());
    let threads: Vec<Vec<(u64, u64)>> = std::iter::once(work).chain(lookups).collect();
    let length = threads.iter().map(|spans| spans.last().map_or(0, |span| span.1)).min()?;
    let starts = (0..=length.checked_sub(EXCERPT_NS)?).step_by(STEP_NS as usize);
    let longest = |from: u64| {
        let pauses = threads.iter().map(|spans| pause(spans, from));
        pauses.collect::<Option<Vec<u64>>>().and_then(|pauses| pauses.into_iter().max())
    };
    let (longest_pause_ns, from) = starts.filter_map(|from| longest(from).map(|pause| (pause, from))).min()?;
    let inside = |span: (u64, u64)| span.0 >= from && span.1 <= from + EXCERPT_NS;
    let work = writer.iter().filter(|work| inside((work.from_ns, work.to_ns)));
    let work = work.map(|work| Work { from_ns: work.from_ns - from, to_ns: work.to_ns - from, ..*work });
    let readers_inside = readers.iter().map(|reader| {
        let lookups = reader.iter().filter(|lookup| inside((lookup.from_ns, lookup.to_ns)));
        let shift = |lookup: &Lookup| Lookup { from_ns: lookup.from_ns - from, to_ns: lookup.to_ns - from, ..*lookup };
        lookups.map(shift).collect()
    });
    Some(Timeline {
        length_ns: EXCERPT_NS,
        longest_pause_ns,
        cores: thread::available_parallelism().map_or(1, |cores| cores.get() as u32),
        writer: work.collect(),
        readers: readers_inside.collect(),
        run: Run::of(writer, readers, length),
    })
}

/// The longest time from one thing to the next in the excerpt that begins at `from`; `None` if nothing is whole in it.
fn pause(spans: &[(u64, u64)], from: u64) -> Option<u64> {
    let to = from + EXCERPT_NS;
    let first = spans.partition_point(|span| span.0 < from);
    let inside = || spans[first..].iter().take_while(|span| span.1 <= to);
    inside().next()?;
    let ends = std::iter::once(from).chain(inside().map(|span| span.1));
    let starts = inside().map(|span| span.0).chain([to]);
    starts.zip(ends).map(|(start, end)| start.saturating_sub(end)).max()
}

impl Run {
    fn of(writer: &[Work], readers: &[Vec<Lookup>], length_ns: u64) -> Self {
        let busy = |at: u64| {
            let after = writer.partition_point(|work| work.from_ns <= at);
            after > 0 && at < writer[after - 1].to_ns
        };
        let median = |times: &mut Vec<u64>| {
            times.sort_unstable();
            times.get(times.len() / 2).copied().unwrap_or(0)
        };
        let lookups = || readers.iter().flatten();
        let mut all: Vec<u64> = lookups().map(|lookup| lookup.to_ns - lookup.from_ns).collect();
        let beside = lookups().filter(|lookup| busy(lookup.from_ns));
        let mut beside: Vec<u64> = beside.map(|lookup| lookup.to_ns - lookup.from_ns).collect();
        let back =
            |reader: &Vec<Lookup>| reader.windows(2).filter(|pair| pair[1].generation < pair[0].generation).count();
        let publications = writer.iter().filter(|work| matches!(work.what, What::Publish(_))).count() as u64;
        Self {
            length_ns,
            events: writer.len() as u64 - publications,
            publications,
            lookups: all.len() as u64,
            lookup_p50_ns: median(&mut all),
            lookup_max_ns: all.last().copied().unwrap_or(0),
            beside: beside.len() as u64,
            beside_p50_ns: median(&mut beside),
            backwards: readers.iter().map(back).sum::<usize>() as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_excerpt_is_where_nobody_pauses_for_long() {
        let every = |step: u64, range: std::ops::Range<u64>| range.step_by(step as usize).map(move |at| at * 1000);
        let work = |at| Work { from_ns: at, to_ns: at + 100, what: What::Apply(1) };
        let lookup = |at| Lookup { from_ns: at, to_ns: at + 50, generation: at / 100_000, events: 0 };
        // The writer works until 4 ms, one reader from 1 ms on; both are denser between 2 ms and 4 ms.
        let writer: Vec<Work> = every(300, 0..2000).chain(every(100, 2000..4000)).map(work).collect();
        let reader: Vec<Lookup> = every(200, 1000..4100).map(lookup).collect();
        let timeline = excerpt(&writer, &[reader]).expect("both run");
        assert_eq!((timeline.length_ns, timeline.longest_pause_ns), (EXCERPT_NS, 199_950));
        assert!(timeline.writer.iter().all(|work| work.to_ns <= EXCERPT_NS) && timeline.writer.len() >= 19);
        assert_eq!((timeline.run.backwards, timeline.run.events), (0, writer.len() as u64));
    }

    #[test]
    fn without_a_common_stretch_there_is_no_excerpt() {
        let work = |at| Work { from_ns: at, to_ns: at + 100, what: What::Apply(1) };
        let writer: Vec<Work> = (0..100).map(|at| work(at * 100_000)).collect();
        assert!(excerpt(&writer, &[vec![]]).is_none());
        assert!(excerpt(&[], &[]).is_none());
    }
}
