//! A diagram with a stage for everything that an event goes through, and the measurements on its arrows.

use super::Flow;
use crate::figures::words::{bytes, count, many, rate, time};
use crate::report::Diagram;

pub(in crate::figures) fn draw(data: &Flow) -> Diagram {
    let seconds = data.seconds.max(1e-9);
    let per_second = |number: u64| rate(number as f64 / seconds);
    let share = |part: f64| format!("{:.1}%", 100.0 * part / seconds);
    let one = |title: &str, lines: Vec<String>| [(title.to_owned(), lines)];
    let numbered = |name: &str, shard: usize, lines: Vec<String>| (format!("{name} {shard}"), lines);
    let shards = || data.shards.iter().enumerate();
    Diagram::new("The path of an event")
        .note(format!(
            "Measured in one run on {}: the events of {:.0} s of virtual time, sent in {seconds:.2} s.",
            many(data.cores.into(), "core"),
            data.virtual_seconds,
        ))
        .stage(
            [],
            one(
                "engines",
                vec![format!(
                    "{} simulated, {} of {} tokens each",
                    data.engines,
                    many(data.blocks_per_engine, "block"),
                    data.block_size
                )],
            ),
        )
        .stage(
            [vec![format!("{} events/s", per_second(data.events)), format!("{} blocks/s", per_second(data.blocks))]],
            one(
                "publishers",
                vec![format!("{}; each worker uses one of them", many(data.publishers.into(), "thread"))],
            ),
        )
        .stage(
            shards().map(|(_, shard)| vec![format!("{} events/s", per_second(shard.events)), "by worker".to_owned()]),
            shards().map(|(number, _)| {
                numbered("mailbox", number, vec![format!("room for {}", many(data.mailbox, "event"))])
            }),
        )
        .stage(
            shards().map(|(_, shard)| {
                let waiting = shard.waiting;
                vec![
                    format!("{} waiting (median)", waiting.p50),
                    format!("{} at p99, {} at most", waiting.p99, waiting.max),
                ]
            }),
            shards().map(|(number, shard)| {
                let work = format!("applying {} of the time", share(shard.apply_seconds));
                let rest = format!("publishing {}", share(shard.publish_seconds));
                numbered("writer", number, vec![work, rest])
            }),
        )
        .stage(
            shards().map(|(_, shard)| {
                let each = shard.events as f64 / shard.generation.max(1) as f64;
                vec![format!("{} publications/s", per_second(shard.generation)), format!("{each:.1} events each")]
            }),
            shards().map(|(number, shard)| {
                let runs = format!("{}, {}", many(shard.runs, "run"), bytes(shard.bytes));
                let blocks =
                    format!("{} blocks indexed, {} held", count(shard.indexed_blocks), count(shard.held_blocks));
                let generation = format!("generation {}", count(shard.generation));
                numbered("snapshot", number, vec![generation, runs, blocks])
            }),
        )
        .stage(
            shards().map(|(_, shard)| {
                let lag = shard.lag_ns;
                let rest = format!("{} at p99, {} at most", time(lag.p99 as f64), time(lag.max as f64));
                vec![format!("visible after {} (median)", time(lag.p50 as f64)), rest]
            }),
            one(
                "readers",
                vec![
                    format!("{}, {} lookups/s", many(data.readers.into(), "thread"), per_second(data.lookups)),
                    format!(
                        "{} per lookup (median), {} at p99, {} at most",
                        time(data.lookup_ns.p50 as f64),
                        time(data.lookup_ns.p99 as f64),
                        time(data.lookup_ns.max as f64)
                    ),
                ],
            ),
        )
}

pub(in crate::figures) fn caption(data: &Flow) -> String {
    let seconds = data.seconds.max(1e-9);
    let lag = |of: fn(&super::Quantiles) -> u64| data.shards.iter().map(|shard| of(&shard.lag_ns)).max().unwrap_or(0);
    let waiting = data.shards.iter().map(|shard| shard.waiting.max).max().unwrap_or(0);
    format!(
        "The path of an event, in a run of {seconds:.2} s. {} simulated engines publish {} events, {} blocks per \
         second, and {} send them to the mailbox of the worker's shard, in which at most {waiting} were waiting. Each \
         writer applies the events in its mailbox and publishes a snapshot. An event becomes visible {} after it was \
         accepted in the median, and {} at the 99th percentile (of the slower shard). Meanwhile {} looked up {} \
         prompts without a lock, each in {} (median). All threads shared {}; in the longest times, a thread may have \
         been waiting for a core.",
        data.engines,
        count(data.events),
        rate(data.blocks as f64 / seconds),
        many(data.publishers.into(), "publisher"),
        time(lag(|lag| lag.p50) as f64),
        time(lag(|lag| lag.p99) as f64),
        many(data.readers.into(), "reader"),
        count(data.lookups),
        time(data.lookup_ns.p50 as f64),
        many(data.cores.into(), "core"),
    )
}
