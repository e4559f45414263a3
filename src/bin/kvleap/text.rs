//! Reports for people.

use std::fmt::Write;

use indicatif::{BinaryBytes, HumanCount, HumanFloatCount};
use kvleap::replay::Report;
use kvleap::sweep::{self, BackendReport};

/// A label and what it labels; both empty where a group ends.
type Row = (&'static str, String);

/// The report of a replay.
pub(crate) fn replay(report: &Report) -> String {
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
        "{} workers x {} blocks of {} tokens, assigned {}, seed {}",
        HumanCount(options.workers.into()),
        HumanCount(options.blocks_per_worker as u64),
        HumanCount(options.block_size.into()),
        options.assign,
        options.seed
    );
    let pins: Vec<String> = options.pin.iter().map(usize::to_string).collect();
    let pinned = if pins.is_empty() { "not pinned".to_owned() } else { format!("pinned to {}", pins.join(",")) };
    vec![
        ("requests", format!("{} of {source}, in {:.1} s", HumanCount(report.requests), report.seconds)),
        ("fleet", fleet),
        ("writers", format!("{}, {pinned}", HumanCount(options.shards as u64))),
    ]
}

fn counts(report: &Report) -> Vec<Row> {
    let share = |part: u64, of: &str| {
        let percent = 100.0 * part as f64 / report.query_blocks.max(1) as f64;
        format!("{}  {percent:5.1}%  {of}", blocks(part))
    };
    let events = format!(
        "{:>14} sent, {} rejected, {} missed",
        HumanCount(report.events).to_string(),
        HumanCount(report.rejected_events),
        HumanCount(report.event_gaps)
    );
    vec![
        ("prompts", blocks(report.query_blocks)),
        ("  hit", share(report.matched_blocks, "on the assigned worker")),
        ("  best", share(report.best_matched_blocks, "on the worker that held most")),
        ("stored", blocks(report.stored_blocks)),
        ("evicted", blocks(report.removed_blocks)),
        ("events", events),
    ]
}

fn times(report: &Report) -> Vec<Row> {
    let (lookup, staleness) = (&report.lookup_ns, &report.staleness_us);
    let heads = ["p50", "p90", "p99", "p99.9", "max", "mean"].map(|head| format!("{head:>10}")).concat();
    let whole = [lookup.p50, lookup.p90, lookup.p99, lookup.p999, lookup.max].map(|ns| time(ns as f64)).concat();
    let [p50, p99, max] = [staleness.p50, staleness.p99, staleness.max].map(|us| time(us * 1e3));
    let rate = HumanFloatCount(report.events_per_second.round());
    vec![
        ("", heads),
        ("lookup", whole + &time(lookup.mean)),
        ("staleness", format!("{p50}{:10}{p99}{:10}{max}", "", "")),
        ("apply", format!("{} a block, {rate} events/s", time(report.apply_ns_per_block))),
    ]
}

fn size(report: &Report) -> Vec<Row> {
    let index = format!(
        "{} runs, {} distinct blocks, {} held",
        HumanCount(report.runs),
        HumanCount(report.distinct_blocks),
        HumanCount(report.held_blocks)
    );
    let peak = report.peak_rss_bytes.map_or(String::new(), |bytes| format!("; peak RSS {}", BinaryBytes(bytes)));
    let bytes = BinaryBytes(report.index_bytes);
    let memory = format!("{bytes} in the index, {:.1} bytes a held block{peak}", report.bytes_per_held_block);
    vec![("index", index), ("memory", memory)]
}

/// Empty when nothing was verified.
fn verdict(report: &Report) -> Vec<Row> {
    let mut rows = Vec::new();
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
    rows
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

/// The table of a sweep.
pub(crate) fn sweep(report: &sweep::Report) -> String {
    let (workload, threads, machine) = (&report.workload, &report.options.threads, &report.machine);
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::ASCII_MARKDOWN).set_header([
        "backend",
        "threshold, block operations/s",
        "operations/s",
        "lookup p50",
        "p99",
        "p99.9",
        "staleness p50",
        "p99",
        "wrong answers",
        "on collisions",
        "trials",
    ]);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(comfy_table::CellAlignment::Right);
    }
    for backend in &report.backends {
        table.add_row(sweep_row(backend));
    }
    let head = format!(
        "{} operations ({} lookups) of {}, naming {} blocks, on {} held; {} workers with {} blocks of {} tokens\n{} \
         cores of {}: {} query, {} event, {} writer threads, {}; {} runs in a row; {:.0} s\n",
        HumanCount(workload.operations),
        HumanCount(workload.lookups),
        if workload.source == "built-in" { "the built-in workload" } else { &workload.source },
        HumanCount(workload.block_operations),
        HumanCount(workload.held_blocks),
        HumanCount(workload.workers.into()),
        HumanCount(workload.blocks_per_worker),
        workload.block_size,
        machine.cores,
        machine.cpu.as_deref().unwrap_or(&machine.system),
        threads.query,
        threads.event,
        threads.writers,
        if threads.pin { "pinned" } else { "not pinned" },
        report.options.in_a_row,
        report.seconds,
    );
    let others = report.others().map_or(String::new(), |others| {
        let warning = if others > sweep::Trial::OTHERS { ": too much to trust these figures" } else { "" };
        format!("other processes took {:.0}% of the cores{warning}\n", 100.0 * others)
    });
    format!("{head}{others}\n{table}\n")
}

fn sweep_row(backend: &BackendReport) -> Vec<String> {
    let bound = if backend.threshold_is_a_bound { "at least " } else { "" };
    let rate = |rate: Option<f64>| {
        rate.map_or("below the lowest".to_owned(), |rate| format!("{bound}{}", HumanFloatCount(rate.round())))
    };
    let (lookup, answers) = (&backend.lookup_ns, &backend.answers);
    let took = |of: fn(&sweep::Quantiles) -> f64| if lookup.count == 0 { "-".to_owned() } else { short(of(lookup)) };
    let stale = |of: fn(&sweep::Quantiles) -> f64| {
        backend.staleness_us.as_ref().map_or("-".to_owned(), |age| short(of(age) * 1e3))
    };
    let wrong = |wrong: u64, checked: u64| {
        if backend.name.answers() {
            format!("{} of {}", HumanCount(wrong), HumanCount(checked))
        } else {
            "-".to_owned()
        }
    };
    vec![
        backend.name.to_string(),
        rate(backend.threshold_block_ops_per_s),
        rate(backend.threshold_ops_per_s),
        took(|time| time.p50),
        took(|time| time.p99),
        took(|time| time.p999),
        stale(|age| age.p50),
        stale(|age| age.p99),
        wrong(answers.wrong, answers.checked),
        wrong(answers.collisions_wrong, answers.collisions_checked),
        backend.trials.len().to_string(),
    ]
}

/// A time without padding.
fn short(nanoseconds: f64) -> String {
    time(nanoseconds).trim().to_owned()
}
