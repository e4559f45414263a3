//! The chart of a sweep.

use super::{BackendReport, Report, System, Trial};
use crate::report::{Axis, Chart, Figure, Series, Unit};

/// Draws achieved load and the 99th percentile of lookups against offered load, for every backend. Rings mark
/// thresholds.
///
/// Both axes of the first chart count block operations per second. Of a rate that was played several times, the chart
/// shows the median of the trials that count. A trial in which nothing was completed, or no lookup issued, has no place
/// on a logarithmic axis; the figure says how many there are. It also says which thresholds are only bounds, and if the
/// machine was too busy.
pub fn figure(report: &Report) -> Figure {
    let rate = |label: &str| Axis::log(label, Unit::Of("block operations/s".into()));
    let mut throughput = Chart::new("Throughput", rate("offered"), rate("achieved")).identity("keeps up");
    let mut latency =
        Chart::new("Latency of lookups", rate("offered"), Axis::log("p99, from call to answer", Unit::Seconds));
    for backend in &report.backends {
        let name = backend.name.name();
        let number = System::ALL.iter().position(|system| *system == backend.name).unwrap_or(0);
        let emphasis = |series: Series| {
            let series = series.look(number);
            if backend.name == System::Kvleap { series.strong() } else { series }
        };
        let achieved = medians(backend, |trial| trial.achieved_block_ops);
        let p99 = medians(backend, |trial| trial.lookup_ns.map_or(0.0, |time| time.p99 / 1e9));
        let ring = |points: &[(f64, f64)]| {
            let threshold = backend.threshold_block_ops_per_s.unwrap_or(0.0);
            points.iter().copied().filter(|point| same(point.0, threshold)).collect()
        };
        throughput = throughput.series(emphasis(Series::rings(name, ring(&achieved))));
        throughput = throughput.series(emphasis(Series::marked(name, achieved)));
        latency = latency.series(emphasis(Series::rings(name, ring(&p99))));
        latency = latency.series(emphasis(Series::marked(name, p99)));
    }
    let (machine, workload, threads) = (&report.machine, &report.workload, &report.options.threads);
    let title = "How much load a prefix index takes";
    let end = if report.interrupted { ": interrupted, and not complete" } else { "" };
    let figure = Figure::new(format!("{title}{end}"))
        .note(format!(
            "Rings mark thresholds: the highest load that was taken {} times in a row, everything issued on time and \
             the queues drained. Where a curve leaves the dashed line, work is left waiting.",
            report.options.in_a_row
        ))
        .note(format!(
            "{}, {} cores: {} query, {} event, {} writer thread(s). Workload: {}, {} workers with {} blocks of {} tokens.",
            machine.cpu.as_deref().unwrap_or(&machine.system),
            machine.cores,
            threads.query,
            threads.event,
            threads.writers,
            workload.source,
            workload.workers,
            workload.blocks_per_worker,
            workload.block_size,
        ));
    doubts(report).into_iter().fold(figure, Figure::note).columns(2).chart(throughput).chart(latency)
}

/// Says what makes the figure show less than there is, or something else.
fn doubts(report: &Report) -> Vec<String> {
    let mut doubts = Vec::new();
    if let Some(others) = report.others().filter(|&others| others > Trial::OTHERS) {
        let percent = 100.0 * others;
        doubts.push(format!("Other processes took {percent:.1}% of the cores: too much to trust these figures."));
    }
    let bounds = report.backends.iter().filter(|backend| backend.threshold_is_a_bound);
    let bounds: Vec<&str> = bounds.map(|backend| backend.name.name()).collect();
    if !bounds.is_empty() {
        let names = bounds.join(", ");
        doubts
            .push(format!("No higher load could be measured for {names}: the threshold may be higher than its ring."));
    }
    let trials = report.backends.iter().flat_map(|backend| &backend.trials);
    let missing = trials.filter(|trial| trial.achieved_block_ops <= 0.0 || trial.lookup_ns.is_none()).count();
    if missing > 0 {
        doubts.push(format!("Trials in which nothing was completed, or nothing looked up, are not shown: {missing}."));
    }
    doubts
}

/// Whether two trials were offered the same rate; it comes out slightly different each time.
fn same(a: f64, b: f64) -> bool {
    (a / b - 1.0).abs() < 0.001
}

/// Returns the offered rates, ascending, each with the median of a positive value over the trials that count, or over
/// all trials of that rate if none counts.
fn medians(backend: &BackendReport, value: impl Fn(&Trial) -> f64) -> Vec<(f64, f64)> {
    let mut trials: Vec<&Trial> = backend.trials.iter().filter(|trial| value(trial) > 0.0).collect();
    trials.sort_by(|a, b| a.offered_block_ops.total_cmp(&b.offered_block_ops));
    let median = |rate: &[&Trial]| {
        let counts = rate.iter().filter(|trial| trial.passes() || !trial.is_disturbed());
        let mut values: Vec<f64> = counts.map(|trial| value(trial)).collect();
        if values.is_empty() {
            values = rate.iter().map(|trial| value(trial)).collect();
        }
        values.sort_by(f64::total_cmp);
        (rate[0].offered_block_ops, values[values.len() / 2])
    };
    trials.chunk_by(|a, b| same(a.offered_block_ops, b.offered_block_ops)).map(median).collect()
}
