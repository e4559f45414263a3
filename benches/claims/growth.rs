//! Checks the claim that answers stay fresh and lookup times stay even while the index grows to a million runs.

use std::thread;
use std::time::{Duration, Instant};

use kvleap::{Matches, Reader, Writer};

use crate::Scale;
use crate::common::pinned::apart;
use crate::common::{apply, chain, hash, index, stored};

/// Time between two events, each of which makes a run of its own.
const PERIOD: Duration = Duration::from_micros(16);
const LEN: u64 = 4;
/// The default of [`kvleap::Builder::publish_interval`].
const PUBLISH: Duration = Duration::from_micros(100);

fn run(number: u64) -> Vec<u64> {
    chain(number * LEN..(number + 1) * LEN)
}

/// Returns the number of events that are due at the time `by`.
fn due(start: Instant, by: Instant) -> u64 {
    ((by - start).as_nanos() / PERIOD.as_nanos()) as u64
}

/// Applies each event when it is due, and publishes whenever no other event waits or [`PUBLISH`] has passed. Returns
/// the time of the longest publication.
fn write(mut writer: Writer, start: Instant, runs: u64) -> Duration {
    let (mut applied, mut published, mut longest) = (0, start, Duration::ZERO);
    while applied < runs {
        let now = Instant::now();
        let waiting = due(start, now).min(runs) - applied;
        if waiting > 0 {
            apply(&mut writer, [&stored(applied % 64, None, &run(applied))]);
            applied += 1;
        }
        if waiting == 1 || now - published >= PUBLISH {
            writer.publish();
            published = Instant::now();
            longest = longest.max(published - now);
        }
    }
    writer.publish();
    longest
}

/// Looks up runs at full speed until all of them are visible. Returns two figures for every lookup, in nanoseconds: the
/// age of the oldest event that was due and that the answer did not reflect, and the time that the lookup took.
fn read(reader: &Reader, start: Instant, runs: u64) -> [Vec<u64>; 2] {
    let mut matches = Matches::new();
    let [mut staleness, mut times] = [Vec::new(), Vec::new()];
    let mut shown = 0;
    for round in 0.. {
        let query = run(hash(round) % shown.max(1));
        let asked = Instant::now();
        reader.find(&query, &mut matches);
        times.push(asked.elapsed().as_nanos() as u64);
        assert!(shown == 0 || matches.len() == 1, "a visible run stays visible");
        shown = matches.watermarks().next().map_or(0, |watermark| watermark.events);
        let is_late = shown < due(start, asked).min(runs);
        let missing_since = PERIOD.as_nanos() as u64 * (shown + 1);
        staleness.push(if is_late { (asked - start).as_nanos() as u64 - missing_since } else { 0 });
        if shown == runs {
            break;
        }
    }
    [staleness, times]
}

fn per_mille(sorted: &[u64], rank: usize) -> f64 {
    sorted[(sorted.len() - 1) * rank / 1000] as f64
}

/// Takes memory that was not in use from the system. Returns it with the longest time that two megabytes of it took: a
/// growing index waits for that, and cannot be faster.
fn fresh_memory(bytes: usize) -> (Vec<u8>, Duration) {
    const PAGE: usize = 4 << 10;
    let mut memory = Vec::<u8>::with_capacity(bytes);
    let mut longest = Duration::ZERO;
    for piece in memory.spare_capacity_mut().chunks_mut(2 << 20) {
        let start = Instant::now();
        piece.iter_mut().step_by(PAGE).for_each(|byte| {
            byte.write(1);
        });
        longest = longest.max(start.elapsed());
    }
    (memory, longest)
}

pub(crate) fn measure(scale: Scale) {
    // It is kept, so that the index does not get what is known to be there already.
    let (_memory, wait) = fresh_memory(scale.pick(256 << 20, 4 << 20));
    let runs: u64 = scale.pick(1_000_000, 5_000);
    let (writer, reader) = index();
    let start = Instant::now();
    let (longest, [mut staleness, mut times]) = thread::scope(|scope| {
        let writing = apart(|| scope.spawn(|| write(writer, start, runs)));
        let answers = read(&reader, start, runs);
        (writing.join().expect("the writer does not panic"), answers)
    });
    staleness.sort_unstable();
    times.sort_unstable();
    let claim = format!("greatest staleness, growing to {runs} runs");
    scale.report(&claim, per_mille(&staleness, 1000) / 1e6, 5.0, " ms");
    println!(
        "  staleness p50 {:.0} us, p99 {:.0} us, p99.9 {:.0} us; longest publication {:.2} ms",
        per_mille(&staleness, 500) / 1e3,
        per_mille(&staleness, 990) / 1e3,
        per_mille(&staleness, 999) / 1e3,
        longest.as_secs_f64() * 1e3,
    );
    println!("  2 MB of memory that was not in use: up to {:.2} ms from the system", wait.as_secs_f64() * 1e3);
    let [p99, p999] = [990, 999].map(|rank| per_mille(&times, rank));
    scale.report("lookup p99.9 over p99 meanwhile", p999 / p99, 5.0, "x");
}
