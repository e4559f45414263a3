//! The chart of a sweep, as `kvleap sweep` draws it, and its thresholds as a table.

use super::Throughput;
use crate::figures::words::{count, time};
use crate::report::Figure;
use crate::sweep::{Trial, figure};

pub(in crate::figures) fn draw(data: &Throughput) -> Figure {
    figure(data)
}

pub(in crate::figures) fn caption(data: &Throughput) -> String {
    let mut backends: Vec<_> = data.backends.iter().collect();
    let threshold = |backend: &&crate::sweep::BackendReport| backend.threshold_block_ops_per_s.unwrap_or(0.0);
    backends.sort_by(|a, b| threshold(b).total_cmp(&threshold(a)));
    let rows: Vec<String> = backends
        .iter()
        .map(|backend| {
            let none = if backend.interrupted { "not found: interrupted" } else { "none" };
            let rate = backend.threshold_block_ops_per_s.map_or(none.to_owned(), |rate| count(rate.round() as u64));
            let bound = if backend.threshold_is_a_bound { " or more" } else { "" };
            let at_threshold = backend.lookup_ns.filter(|_| backend.threshold_block_ops_per_s.is_some());
            let p99 = at_threshold.map_or("-".to_owned(), |times| time(times.p99));
            let wrong = if backend.name.answers() { count(backend.wrong()) } else { "no answers".to_owned() };
            format!("| {} | {rate}{bound} | {p99} | {wrong} |", backend.name)
        })
        .collect();
    let options = &data.options;
    let disturbed = match data.others() {
        Some(others) if others > Trial::OTHERS => format!(
            " Other processes used {:.0}% of the cores' time meanwhile, so the thresholds are too low: measure again.",
            100.0 * others
        ),
        _ => String::new(),
    };
    format!(
        "The load that a prefix index can take: achieved against offered block operations per second, and the 99th percentile \
         of the latency of lookups. On the dashed line, the whole offered load is achieved. Rings mark thresholds: the \
         highest loads that were achieved {} times in a row in windows of {:.2} s, to within a factor of {:.2}. Workload: {}, \
         {} workers with {} blocks of {} tokens; {} query, {} event and {} writer threads on {} cores, {:.0} s in \
         all.{disturbed}\n\n\
         | backend | threshold, block operations/s | lookup p99 at the threshold | wrong answers |\n|---|---:|---:|---:|\n{}",
        options.in_a_row,
        options.window.as_secs_f64(),
        options.precision,
        data.workload.source,
        data.workload.workers,
        data.workload.blocks_per_worker,
        data.workload.block_size,
        options.threads.query,
        options.threads.event,
        options.threads.writers,
        data.machine.cores,
        data.seconds,
        rows.join("\n"),
    )
}
