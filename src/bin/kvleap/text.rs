//! Reports for people.

use std::fmt::Write;

use indicatif::{BinaryBytes, HumanCount};
use kvleap::replay::Report;

/// The report of a replay.
pub(crate) fn replay(report: &Report) -> String {
    let options = &report.options;
    let source = options.trace.as_ref().map_or("the built-in workload".to_owned(), |path| path.display().to_string());
    let percent = |blocks: u64| 100.0 * blocks as f64 / report.query_blocks.max(1) as f64;
    let pins: Vec<String> = options.pin.iter().map(usize::to_string).collect();
    let pinned = if pins.is_empty() { "not pinned".to_owned() } else { format!("pinned to {}", pins.join(",")) };
    let lookup = &report.lookup_ns;
    let staleness = &report.staleness_us;

    let mut rows = vec![
        ("requests", format!("{} of {source}, in {:.1} s", HumanCount(report.requests), report.seconds)),
        (
            "fleet",
            format!(
                "{} workers x {} blocks of {} tokens, assigned {}, seed {}",
                HumanCount(options.workers.into()),
                HumanCount(options.blocks_per_worker as u64),
                HumanCount(options.block_size.into()),
                options.assign,
                options.seed
            ),
        ),
        ("writers", format!("{}, {pinned}", options.shards)),
        ("", String::new()),
        ("prompts", blocks(report.query_blocks)),
        ("  hit", format!("{}  {:5.1}%  on the assigned worker", blocks(report.matched_blocks), report.hit_rate * 100.0)),
        (
            "  best",
            format!("{}  {:5.1}%  deepest match", blocks(report.best_matched_blocks), percent(report.best_matched_blocks)),
        ),
        ("stored", blocks(report.stored_blocks)),
        ("evicted", blocks(report.removed_blocks)),
        (
            "events",
            format!(
                "{:>14} sent, {} rejected, {} missed",
                HumanCount(report.events).to_string(),
                HumanCount(report.rejected_events),
                HumanCount(report.event_gaps)
            ),
        ),
        ("", String::new()),
        ("", ["p50", "p90", "p99", "p99.9", "max", "mean"].map(|name| format!("{name:>10}")).concat()),
        (
            "lookup",
            [lookup.p50, lookup.p90, lookup.p99, lookup.p999, lookup.max]
                .map(|ns| ns as f64)
                .into_iter()
                .chain([lookup.mean])
                .map(time)
                .collect(),
        ),
        (
            "staleness",
            format!(
                "{}{:10}{}{:10}{}",
                time(staleness.p50 * 1e3),
                "",
                time(staleness.p99 * 1e3),
                "",
                time(staleness.max * 1e3)
            ),
        ),
        (
            "apply",
            format!(
                "{} a block, {} events/s",
                time(report.apply_ns_per_block),
                HumanCount(report.events_per_second as u64)
            ),
        ),
        ("", String::new()),
        (
            "index",
            format!(
                "{} runs, {} distinct blocks, {} held",
                HumanCount(report.runs),
                HumanCount(report.distinct_blocks),
                HumanCount(report.held_blocks)
            ),
        ),
        (
            "memory",
            format!(
                "{} in the index, {:.1} bytes a held block{}",
                BinaryBytes(report.index_bytes),
                report.bytes_per_held_block,
                report.peak_rss_bytes.map_or(String::new(), |bytes| format!("; peak RSS {}", BinaryBytes(bytes)))
            ),
        ),
    ];
    if let (Some(verified), Some(mismatches)) = (report.verified, report.mismatches) {
        rows.push(("verified", format!("{} answers, {} wrong", HumanCount(verified), HumanCount(mismatches))));
    }
    if let Some(first) = &report.first_mismatch {
        let text = format!(
            "request {}: worker {}/{} holds {} blocks, the answer says {:?}",
            HumanCount(first.request),
            first.worker,
            first.dp_rank,
            first.expected,
            first.got
        );
        rows.push(("  first", text));
    }
    rows.into_iter().fold(String::new(), |mut text, (label, value)| {
        let line = format!("{label:<11}{value}");
        // Writing to a string does not fail.
        let _ = writeln!(text, "{}", line.trim_end());
        text
    })
}

fn blocks(count: u64) -> String {
    format!("{:>14} blocks", HumanCount(count).to_string())
}

/// A time in the unit that leaves one to three digits before the point, ten columns wide.
fn time(nanoseconds: f64) -> String {
    let (value, unit) = match nanoseconds {
        ..1e3 => (nanoseconds, "ns"),
        ..1e6 => (nanoseconds / 1e3, "µs"),
        ..1e9 => (nanoseconds / 1e6, "ms"),
        _ => (nanoseconds / 1e9, "s"),
    };
    format!("{:>10}", format!("{value:.1} {unit}"))
}
