//! The report of a replay for people.

use std::fmt::Write;

use kvleap::replay::{Report, Staleness};

use crate::numbers::{bytes, count, percent, plural, rate, seconds, time};

/// A label and what it labels; both empty where a group ends.
type Row = (&'static str, String);

/// Writes the report in lines with labels, in groups.
pub(super) fn report(report: &Report) -> String {
    let gap = || [("", String::new())];
    let groups = [setting(report), counts(report), times(report), size(report), verdict(report)];
    let rows = groups.into_iter().filter(|group| !group.is_empty()).flat_map(|group| group.into_iter().chain(gap()));
    let mut text = rows.fold(String::new(), |mut text, (label, value)| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{}", format!("{label:<11}{value}").trim_end());
        text
    });
    text.truncate(text.trim_end().len());
    text + "\n"
}

fn setting(report: &Report) -> Vec<Row> {
    let options = &report.options;
    let source = options.trace.as_ref().map_or("the built-in workload".to_owned(), |path| path.display().to_string());
    let fleet = format!(
        "{} x {} blocks of {} tokens, policy {}, seed {}",
        plural(options.workers, "worker"),
        count(options.blocks_per_worker as u64),
        count(options.block_size),
        options.assign,
        options.seed
    );
    let pins: Vec<String> = options.pin.iter().map(usize::to_string).collect();
    let pinned = match &pins[..] {
        [] => "not pinned".to_owned(),
        [core] => format!("pinned to core {core}"),
        cores => format!("pinned to cores {}", cores.join(",")),
    };
    vec![
        ("requests", format!("{} of {source}, in {}", count(report.requests), seconds(report.seconds))),
        ("fleet", fleet),
        ("index", format!("{}, {pinned}", plural(options.shards as u64, "writer thread"))),
    ]
}

fn counts(report: &Report) -> Vec<Row> {
    let share = |part: u64, of: &str| {
        let whole = Some(report.query_blocks).filter(|&whole| whole > 0);
        let percent = or_dash(whole.map(|whole| part as f64 / whole as f64), percent);
        format!("{}  {percent:>6}  {of}", blocks(part))
    };
    let events = format!(
        "{:>14} sent, {} rejected, {} missed",
        count(report.events),
        count(report.rejected_events),
        count(report.event_gaps)
    );
    let mut rows = vec![
        ("prompts", blocks(report.query_blocks)),
        ("  hit", share(report.matched_blocks, "on the worker that served the request")),
        ("  best", share(report.best_matched_blocks, "on the worker that held most")),
        ("stored", blocks(report.stored_blocks)),
        ("evicted", blocks(report.removed_blocks)),
        ("events", events),
    ];
    if report.cut_requests > 0 {
        let cut = count(report.cut_requests);
        rows.push(("cut", format!("{cut:>14} requests, which do not fit a worker's cache; raise --blocks")));
    }
    rows
}

fn times(report: &Report) -> Vec<Row> {
    let (lookup, staleness) = (&report.lookup_ns, &report.staleness_us);
    let heads = ["p50", "p90", "p99", "p99.9", "max", "mean"].map(|head| format!("{head:>10}")).concat();
    let padded = |nanoseconds: f64| format!("{:>10}", time(nanoseconds));
    let whole = [lookup.p50, lookup.p90, lookup.p99, lookup.p999, lookup.max].map(|ns| padded(ns as f64)).concat();
    let ages: [fn(&Staleness) -> f64; 3] = [|age| age.p50, |age| age.p99, |age| age.max];
    let [p50, p99, max] = ages.map(|of| format!("{:>10}", or_dash(staleness.as_ref().map(of), |us| time(us * 1e3))));
    let apply = or_dash(report.apply_ns_per_block, time);
    let events = or_dash(report.events_per_second, rate);
    vec![
        ("", heads),
        ("lookup", whole + &padded(lookup.mean)),
        ("staleness", format!("{p50}{:10}{p99}{:10}{max}", "", "")),
        ("apply", format!("{apply:>10} per block, {events} events/s")),
    ]
}

fn size(report: &Report) -> Vec<Row> {
    let index = format!(
        "{} runs, {} blocks indexed, {} held",
        count(report.runs),
        count(report.indexed_blocks),
        count(report.held_blocks)
    );
    let peak = report.peak_rss_bytes.map_or(String::new(), |peak| format!("; peak RSS {}", bytes(peak)));
    let of_index = bytes(report.index_bytes);
    let per_block = or_dash(report.bytes_per_held_block, |bytes| format!("{bytes:.1}"));
    let memory = format!("{of_index} for the index, {per_block} bytes per held block{peak}");
    vec![("content", index), ("memory", memory)]
}

/// Says what --verify found; empty where nothing was verified.
fn verdict(report: &Report) -> Vec<Row> {
    let mut rows = Vec::new();
    if let (Some(verified), Some(mismatches)) = (report.verified, report.mismatches) {
        rows.push(("verified", format!("{} answers, {} wrong", count(verified), count(mismatches))));
    }
    if let Some(first) = &report.first_mismatch {
        let text = format!(
            "request {}: worker {}/{} holds {} blocks, the answer says {:?}",
            count(first.request),
            first.worker,
            first.dp_rank,
            first.expected,
            first.got
        );
        rows.push(("  first", text));
    }
    rows
}

/// Shows a figure; `-` if there is none.
fn or_dash(figure: Option<f64>, show: impl Fn(f64) -> String) -> String {
    figure.map_or("-".to_owned(), show)
}

fn blocks(blocks: u64) -> String {
    format!("{:>14} blocks", count(blocks))
}
