//! The table of a sweep.

use kvleap::sweep::{BackendReport, Quantiles, Report, Trial};

use crate::numbers::{count, percent, plural, rate, seconds, time};
use crate::table::{Column, table};

/// Writes the setting, and a row for each backend.
pub(super) fn report(report: &Report, wide: bool) -> String {
    format!("{}\n{}", head(report), table(columns(), &report.backends, wide))
}

fn head(report: &Report) -> String {
    let (workload, threads, machine) = (&report.workload, &report.options.threads, &report.machine);
    let head = format!(
        "{} operations ({} lookups) of {}\nnaming {} blocks, on {} held: {} with {} blocks of {} tokens\n{} of {}\n{} \
         query, {} event, {}, {}\n{} runs in a row, in {}\n",
        count(workload.operations),
        count(workload.lookups),
        if workload.source == "built-in" { "the built-in workload" } else { &workload.source },
        count(workload.block_operations),
        count(workload.held_blocks),
        plural(workload.workers, "worker"),
        count(workload.blocks_per_worker),
        workload.block_size,
        plural(machine.cores as u64, "core"),
        machine.cpu.as_deref().unwrap_or(&machine.system),
        threads.query,
        threads.event,
        plural(threads.writers as u64, "writer thread"),
        if threads.pin { "pinned" } else { "not pinned" },
        report.options.in_a_row,
        seconds(report.seconds),
    );
    let others = report.others().map_or(String::new(), |others| {
        let warning = if others > Trial::OTHERS { ": too much to trust these figures" } else { "" };
        format!("other processes took {} of the cores{warning}\n", percent(others))
    });
    let interrupted = if report.interrupted { "interrupted: what follows is not complete\n" } else { "" };
    head + &others + interrupted
}

fn columns() -> Vec<Column<'static, BackendReport>> {
    type BackendColumn<'a> = Column<'a, BackendReport>;
    let limit = |backend: &BackendReport, limit: Option<f64>| match limit {
        Some(limit) if backend.threshold_is_a_bound => format!("at least {}", rate(limit.round())),
        Some(limit) => rate(limit.round()),
        None if backend.interrupted => "not found".to_owned(),
        None => "below the lowest".to_owned(),
    };
    // Without a threshold, these are times of another rate.
    let at_threshold = |backend: &BackendReport, times: Option<Quantiles>| {
        times.filter(|_| backend.threshold_block_ops_per_s.is_some())
    };
    let lookup = |of: fn(&Quantiles) -> f64| {
        move |backend: &BackendReport| {
            at_threshold(backend, backend.lookup_ns).map_or("-".to_owned(), |times| time(of(&times)))
        }
    };
    let stale = |of: fn(&Quantiles) -> f64| {
        move |backend: &BackendReport| {
            at_threshold(backend, backend.staleness_us).map_or("-".to_owned(), |times| time(of(&times) * 1e3))
        }
    };
    let wrong = |backend: &BackendReport, wrong: u64, checked: u64| {
        if backend.name.answers() { format!("{} of {}", count(wrong), count(checked)) } else { "-".to_owned() }
    };
    vec![
        BackendColumn::names("backend", |backend| backend.name.to_string()),
        BackendColumn::new("threshold, block operations/s", move |backend| {
            limit(backend, backend.threshold_block_ops_per_s)
        }),
        BackendColumn::wide("operations/s", move |backend| limit(backend, backend.threshold_ops_per_s)),
        BackendColumn::new("lookup p50", lookup(|time| time.p50)),
        BackendColumn::new("lookup p99", lookup(|time| time.p99)),
        BackendColumn::wide("lookup p99.9", lookup(|time| time.p999)),
        BackendColumn::wide("staleness p50", stale(|age| age.p50)),
        BackendColumn::new("staleness p99", stale(|age| age.p99)),
        BackendColumn::new("wrong answers", move |backend| {
            wrong(backend, backend.answers.wrong, backend.answers.checked)
        }),
        BackendColumn::wide("wrong on collisions", move |backend| {
            wrong(backend, backend.answers.collisions_wrong, backend.answers.collisions_checked)
        }),
        BackendColumn::wide("trials", |backend| count(backend.trials.len() as u64)),
    ]
}
