//! What a replay measured.

use std::fs;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::tally::{Tally, histogram};
use super::{Mismatch, Options, Verifier};
use crate::index::Status;

/// What a replay measured. It is serialised flat, with the options among the figures.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What was replayed, and on what.
    #[serde(flatten)]
    pub options: Options,
    /// Requests played.
    pub requests: u64,
    /// Blocks of all prompts.
    pub query_blocks: u64,
    /// Blocks of all prompts that the worker that served the request held when it arrived.
    pub matched_blocks: u64,
    /// `matched_blocks / query_blocks`, 0 to 1; `None` if no prompt has a full block.
    pub hit_rate: Option<f64>,
    /// Blocks of all prompts that the worker with the deepest match held.
    pub best_matched_blocks: u64,
    /// Requests whose prompt and answer do not fit a worker's cache, and were cut to what does before a worker served
    /// them. Their whole prompts were looked up.
    pub cut_requests: u64,
    /// Answers compared with the reference model; `None` without [`Options::verify`].
    pub verified: Option<u64>,
    /// Answers that were wrong; `None` without [`Options::verify`].
    pub mismatches: Option<u64>,
    /// The first wrong answer.
    pub first_mismatch: Option<Mismatch>,
    /// Events that the workers sent.
    pub events: u64,
    /// Blocks that the workers stored.
    pub stored_blocks: u64,
    /// Blocks that the workers evicted.
    pub removed_blocks: u64,
    /// Events that the index rejected.
    pub rejected_events: u64,
    /// Events missing from the index, by the gaps in their numbers.
    pub event_gaps: u64,
    /// Times of the lookup call alone, on the calling thread.
    pub lookup_ns: Lookup,
    /// Nanoseconds that a writer thread takes per stored or removed block, without publishing; `None` if there was none.
    pub apply_ns_per_block: Option<f64>,
    /// Events per second of writer thread time, with publishing; `None` if there was no event.
    pub events_per_second: Option<f64>,
    /// Times from an event's acceptance to its visibility; `None` if there was no event.
    pub staleness_us: Option<Staleness>,
    /// Runs in the index at the end.
    pub runs: u64,
    /// [Blocks in the index](crate::ShardStatus::indexed_blocks) at the end, summed over the shards.
    pub indexed_blocks: u64,
    /// Blocks held at the end, summed over the workers.
    pub held_blocks: u64,
    /// Bytes that the index takes at the end.
    pub index_bytes: u64,
    /// `index_bytes / held_blocks`; `None` if no block is held.
    pub bytes_per_held_block: Option<f64>,
    /// The largest resident set of the whole process so far; `None` where the system does not say.
    pub peak_rss_bytes: Option<u64>,
    /// Wall-clock time of the replay, without reading the trace.
    pub seconds: f64,
}

/// Nanoseconds of a lookup, to three significant digits.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Lookup {
    /// Half of the lookups took no longer.
    pub p50: u64,
    /// 90% took no longer.
    pub p90: u64,
    /// 99% took no longer.
    pub p99: u64,
    /// 99.9% took no longer.
    pub p999: u64,
    /// The slowest lookup.
    pub max: u64,
    /// The mean.
    pub mean: f64,
}

/// Microseconds from acceptance to visibility, with the precision of [`ShardStatus::lag`](crate::ShardStatus::lag).
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Staleness {
    /// Half of the events took no longer.
    pub p50: f64,
    /// 99% took no longer.
    pub p99: f64,
    /// The slowest event.
    pub max: f64,
}

impl Report {
    pub(super) fn new(
        options: &Options,
        tally: &Tally,
        verifier: Option<&Verifier>,
        index: &Status,
        elapsed: Duration,
    ) -> Self {
        let shards = &index.shards;
        let held_blocks = shards.iter().map(|shard| shard.held_blocks).sum();
        let index_bytes = shards.iter().map(|shard| shard.bytes).sum();
        let applied_blocks: u64 = shards.iter().map(|shard| shard.applied_blocks).sum();
        let applied_events: u64 = shards.iter().map(|shard| shard.applied_events).sum();
        let applying: Duration = shards.iter().map(|shard| shard.apply_time).sum();
        let publishing: Duration = shards.iter().map(|shard| shard.publish_time).sum();
        Self {
            options: options.clone(),
            requests: tally.requests,
            query_blocks: tally.query_blocks,
            matched_blocks: tally.matched_blocks,
            hit_rate: ratio(tally.matched_blocks as f64, tally.query_blocks as f64),
            best_matched_blocks: tally.best_matched_blocks,
            cut_requests: tally.cut_requests,
            verified: verifier.map(Verifier::verified),
            mismatches: verifier.map(Verifier::mismatches),
            first_mismatch: verifier.and_then(Verifier::first).cloned(),
            events: tally.events,
            stored_blocks: tally.stored_blocks,
            removed_blocks: tally.removed_blocks,
            rejected_events: rejected_events(index),
            event_gaps: index.workers.iter().map(|worker| worker.gaps).sum(),
            lookup_ns: Lookup::new(&tally.lookup),
            apply_ns_per_block: ratio(applying.as_nanos() as f64, applied_blocks as f64),
            events_per_second: ratio(applied_events as f64, (applying + publishing).as_secs_f64())
                .filter(|_| applied_events > 0),
            staleness_us: Staleness::new(shards.iter().map(|shard| &shard.lag)),
            runs: shards.iter().map(|shard| shard.runs).sum(),
            indexed_blocks: shards.iter().map(|shard| shard.indexed_blocks).sum(),
            held_blocks,
            index_bytes,
            bytes_per_held_block: ratio(index_bytes as f64, held_blocks as f64),
            peak_rss_bytes: peak_rss(),
            seconds: elapsed.as_secs_f64(),
        }
    }
}

impl Lookup {
    fn new(times: &Histogram<u64>) -> Self {
        Self {
            p50: times.value_at_quantile(0.5),
            p90: times.value_at_quantile(0.9),
            p99: times.value_at_quantile(0.99),
            p999: times.value_at_quantile(0.999),
            max: times.max(),
            mean: times.mean(),
        }
    }
}

impl Staleness {
    fn new<'a>(lags: impl Iterator<Item = &'a Histogram<u64>>) -> Option<Self> {
        let mut all = histogram();
        for lag in lags {
            all.add(lag).expect("a histogram that resizes takes any other");
        }
        let microseconds = |nanoseconds: u64| nanoseconds as f64 / 1e3;
        (!all.is_empty()).then(|| Self {
            p50: microseconds(all.value_at_quantile(0.5)),
            p99: microseconds(all.value_at_quantile(0.99)),
            max: microseconds(all.max()),
        })
    }
}

/// Counts rejected events of every kind, also of workers that the index does not know.
fn rejected_events(index: &Status) -> u64 {
    let known = index.workers.iter().flat_map(|worker| worker.rejected);
    let strangers = index.shards.iter().flat_map(|shard| shard.rejected_strangers);
    known.chain(strangers).sum()
}

/// Divides; `None` where there is nothing to divide by.
fn ratio(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| part / whole)
}

/// Reads the process's largest resident set, in bytes, from where Linux keeps it.
fn peak_rss() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_keep_their_size() {
        let mut tally = Tally::new();
        for microseconds in 1..=1000 {
            tally.lookup(Duration::from_micros(microseconds));
        }
        let lookup = Lookup::new(&tally.lookup);
        let about = |figure: u64, exact: u64| figure.abs_diff(exact) * 1000 <= exact;
        assert!(about(lookup.p50, 500_000), "{lookup:?}");
        assert!(about(lookup.p90, 900_000), "{lookup:?}");
        assert!(about(lookup.p99, 990_000), "{lookup:?}");
        assert!(about(lookup.max, 1_000_000), "{lookup:?}");
        assert!((lookup.mean - 500_500.0).abs() < 500.0, "{lookup:?}");
    }

    #[test]
    fn the_lags_of_all_shards_count() {
        let lag = |nanoseconds| {
            let mut lag = histogram();
            lag.record(nanoseconds).unwrap();
            lag
        };
        let staleness = Staleness::new([lag(1_000), lag(9_000_000)].iter()).expect("two events");
        assert!((staleness.p50 - 1.0).abs() < 0.01, "{staleness:?}");
        assert!((staleness.max - 9_000.0).abs() < 9.0, "{staleness:?}");
        assert!(Staleness::new([histogram()].iter()).is_none(), "no event");
    }
}
