//! Runs three threads, each of which records what it does when, and chooses an excerpt in which all of them run.

use std::cmp::Reverse;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use super::{Activity, Lookup, Timeline, Totals, Work};
use crate::event::Event;
use crate::figures::{FiguresError, Options, Topic};
use crate::index::{Builder, Matches, Reader, Writer};
use crate::sweep::{Load, Op, Partition, What};

/// Length of the whole run, and of the excerpt.
const RUN: Duration = Duration::from_secs(2);
const EXCERPT_NS: i64 = 2_000_000;
/// Time between the starts of possible excerpts.
const STEP_NS: i64 = 50_000;
/// The writer rests between batches, and a reader after a few lookups, because three threads that never rest cannot all
/// be seen running on two cores. Each rests for a different time, so that they do not wake in step.
const BATCH: usize = 12;
const LOOKUPS: usize = 8;
const WRITER_RESTS: Duration = Duration::from_micros(100);
const READERS_REST: [Duration; 2] = [Duration::from_micros(70), Duration::from_micros(130)];
const REQUESTS: u64 = 4_000;

pub(in crate::figures) fn collect(options: &Options) -> Result<Timeline, FiguresError> {
    let partition = Partition { requests: Some(REQUESTS), seed: options.seed, ..Partition::default() };
    let load = Load::new(partition.schedule(|_, _| ())?)?;
    let (mut writer, reader) = Builder::default().seed(options.seed).build_local()?;
    for event in &load.warm {
        // The events come from an export, so they are accepted.
        let _ = writer.apply(event);
    }
    writer.publish();
    let (mut events, mut queries) = (Vec::new(), Vec::new());
    for Op { what, .. } in load.ops {
        match what {
            What::Event(event) => events.push(event),
            What::Lookup(query) => queries.push(query),
        }
    }

    let over = AtomicBool::new(false);
    let start = Instant::now();
    let (writer, readers) = thread::scope(|scope| {
        let readers = READERS_REST.map(|rest| {
            let (reader, queries, over) = (reader.clone(), &queries, &over);
            scope.spawn(move || ask(&reader, queries, rest, start, over))
        });
        let work = write(&mut writer, &events, start);
        over.store(true, Relaxed);
        (work, readers.into_iter().map(|reader| reader.join().expect("no panic here")).collect::<Vec<_>>())
    });
    excerpt(&writer, &readers).ok_or(FiguresError::Empty {
        topic: Topic::Timeline,
        what: "there were no two milliseconds in which all three threads ran; try again when the machine is less busy",
    })
}

/// Applies events in batches and publishes after each batch, until the time is up.
fn write(writer: &mut Writer, events: &[Event], start: Instant) -> Vec<Work> {
    let mut work = Vec::new();
    let (mut generation, mut batches) = (1, events.chunks(BATCH));
    while start.elapsed() < RUN
        && let Some(batch) = batches.next()
    {
        for event in batch {
            let from = start.elapsed();
            let _ = writer.apply(event);
            work.push(done(from, start.elapsed(), Activity::Apply(event.data.len() as u64)));
        }
        let from = start.elapsed();
        writer.publish();
        generation += 1;
        work.push(done(from, start.elapsed(), Activity::Publish(generation)));
        thread::sleep(WRITER_RESTS);
    }
    work
}

fn done(from: Duration, to: Duration, what: Activity) -> Work {
    Work { from_ns: from.as_nanos() as i64, to_ns: to.as_nanos() as i64, what }
}

/// Looks up the queries in a cycle until the writer has finished.
fn ask(reader: &Reader, queries: &[Box<[u64]>], rest: Duration, start: Instant, over: &AtomicBool) -> Vec<Lookup> {
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
        lookups.push(Lookup { from_ns: from.as_nanos() as i64, to_ns: to.as_nanos() as i64, generation, events });
        if number % LOOKUPS == 0 {
            thread::sleep(rest);
        }
    }
    lookups
}

/// Chooses the part of a run in which the most lookups start while the writer is working, for the reader with the
/// fewest of them. Ties go to the part with the most for both readers, and then to the first. Returns `None` if there
/// is no part in which every thread runs.
fn excerpt(writer: &[Work], readers: &[Vec<Lookup>]) -> Option<Timeline> {
    let length = writer.last()?.to_ns;
    let beside: Vec<Vec<i64>> =
        readers.iter().map(|reader| beside(writer, reader).map(|l| l.from_ns).collect()).collect();
    let begun: Vec<Vec<i64>> =
        readers.iter().map(|reader| reader.iter().map(|lookup| lookup.from_ns).collect()).collect();
    let worked: Vec<i64> = writer.iter().map(|work| work.from_ns).collect();
    let score = |from: i64| {
        let inside = |times: &Vec<i64>| {
            times.partition_point(|&at| at < from + EXCERPT_NS) - times.partition_point(|&at| at < from)
        };
        let all_run = begun.iter().chain([&worked]).all(|times| inside(times) > 0);
        all_run.then(|| (beside.iter().map(inside).min().unwrap_or(0), beside.iter().map(inside).sum::<usize>()))
    };
    let starts = (0..=length - EXCERPT_NS).step_by(STEP_NS as usize);
    let (best, Reverse(from)) = starts.filter_map(|from| Some((score(from)?, Reverse(from)))).max()?;
    let touches = |begin: i64, end: i64| begin <= from + EXCERPT_NS && end >= from;
    let work = writer.iter().filter(|work| touches(work.from_ns, work.to_ns));
    let work = work.map(|work| Work { from_ns: work.from_ns - from, to_ns: work.to_ns - from, ..*work });
    let lookups = readers.iter().map(|reader| {
        let lookups = reader.iter().filter(|lookup| touches(lookup.from_ns, lookup.to_ns));
        let shift = |lookup: &Lookup| Lookup { from_ns: lookup.from_ns - from, to_ns: lookup.to_ns - from, ..*lookup };
        lookups.map(shift).collect()
    });
    Some(Timeline {
        length_ns: EXCERPT_NS.unsigned_abs(),
        beside: best.1 as u64,
        cores: thread::available_parallelism().map_or(1, |cores| cores.get() as u32),
        writer: work.collect(),
        readers: lookups.collect(),
        run: Totals::of(writer, readers, length),
    })
}

/// Returns the lookups that started while the writer was working.
fn beside<'a>(writer: &'a [Work], reader: &'a [Lookup]) -> impl Iterator<Item = &'a Lookup> {
    reader.iter().filter(|lookup| {
        let begun = writer.partition_point(|work| work.from_ns <= lookup.from_ns);
        begun > 0 && lookup.from_ns < writer[begun - 1].to_ns
    })
}

impl Totals {
    fn of(writer: &[Work], readers: &[Vec<Lookup>], length_ns: i64) -> Self {
        let median = |times: &mut Vec<u64>| {
            times.sort_unstable();
            times.get(times.len() / 2).copied().unwrap_or(0)
        };
        let took = |lookup: &Lookup| (lookup.to_ns - lookup.from_ns).unsigned_abs();
        let mut all: Vec<u64> = readers.iter().flatten().map(took).collect();
        let mut beside: Vec<u64> = readers.iter().flat_map(|reader| beside(writer, reader)).map(took).collect();
        let back =
            |reader: &Vec<Lookup>| reader.windows(2).filter(|pair| pair[1].generation < pair[0].generation).count();
        let publications = writer.iter().filter(|work| matches!(work.what, Activity::Publish(_))).count() as u64;
        Self {
            length_ns: length_ns.unsigned_abs(),
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

    fn work(range: std::ops::Range<i64>) -> Vec<Work> {
        let every = range.step_by(100).map(|at| at * 1000);
        every.map(|at| Work { from_ns: at, to_ns: at + 50_000, what: Activity::Apply(1) }).collect()
    }

    fn lookup(microseconds: i64) -> Lookup {
        Lookup { from_ns: microseconds * 1000, to_ns: microseconds * 1000 + 500, generation: 1, events: 1 }
    }

    #[test]
    fn the_excerpt_is_where_lookups_run_beside_the_writer() {
        let writer = work(0..9000);
        // In the first half of a hundred the writer works, in the second it rests.
        let resting = (0..5000).step_by(100).map(|at| lookup(at + 70));
        let beside = (5000..6000).step_by(100).map(|at| lookup(at + 20));
        let first: Vec<Lookup> = resting.chain(beside).collect();
        // The other reader has more, but where the first has none.
        let second: Vec<Lookup> = (0..4000).step_by(50).chain([5520, 5620]).map(lookup).collect();
        let timeline = excerpt(&writer, &[first.clone(), second]).expect("both run beside the writer");
        assert_eq!((timeline.length_ns, timeline.beside), (EXCERPT_NS.unsigned_abs(), 12));
        assert_eq!((timeline.run.beside, timeline.run.events), (10 + 40 + 2, 90));
        assert!(excerpt(&writer, &[first, vec![]]).is_none(), "one reader never runs");
    }

    #[test]
    fn what_goes_on_at_an_end_of_the_excerpt_is_a_part_of_it() {
        let at = |from_ns, to_ns| Work { from_ns, to_ns, what: Activity::Apply(1) };
        // The excerpt with the most lookups beside the writer begins and ends in the middle of an event.
        let writer = [at(0, 100), at(20_000, 60_000), at(1_050_000, 1_060_000), at(2_030_000, 2_080_000)];
        let readers = [vec![Lookup { from_ns: 10_000, to_ns: 51_000, ..lookup(0) }, lookup(2_045)]];
        let timeline = excerpt(&writer, &readers).expect("both run");
        let times = |work: &Work| (work.from_ns, work.to_ns);
        let work: Vec<_> = timeline.writer.iter().map(times).collect();
        assert_eq!(work, [(-30_000, 10_000), (1_000_000, 1_010_000), (1_980_000, 2_030_000)]);
        assert_eq!(timeline.readers[0].iter().map(|lookup| lookup.from_ns).collect::<Vec<_>>(), [-40_000, 1_995_000]);
    }

    #[test]
    fn a_run_that_is_too_short_has_no_excerpt() {
        assert!(excerpt(&[], &[]).is_none());
        assert!(excerpt(&work(0..1500), &[vec![lookup(20)]]).is_none());
    }

    #[test]
    fn generations_that_go_back_are_counted() {
        let older = Lookup { generation: 0, ..lookup(5) };
        assert_eq!(Totals::of(&work(0..100), &[vec![lookup(1), older, lookup(9)]], 1).backwards, 1);
    }
}
