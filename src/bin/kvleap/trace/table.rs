//! An analysis for people.

use kvleap::trace::analyze::{Analysis, Summary, Window};

use crate::numbers::{count, percent, plural, rate, seconds};
use crate::table::{Column, table};

/// Rows of a table at most, where there may be any number.
const ROWS: usize = 24;

/// Writes what there is to say of a trace, part by part.
pub(super) fn analysis(analysis: &Analysis, wide: bool) -> String {
    let parts =
        [head(analysis), metrics(analysis, wide), curves(analysis, wide), arrivals(analysis, wide), sessions(analysis)];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n") + "\n"
}

fn head(analysis: &Analysis) -> String {
    let hits = analysis
        .block_weighted_hit_rate
        .map_or(String::new(), |rate| format!("; an infinite cache hits {} of them", percent(rate)));
    format!(
        "{}: {}, {} unique hash ids, {} of them repeated\n{}{hits}\n",
        analysis.file,
        plural(analysis.requests, "request"),
        count(analysis.unique_hash_ids),
        count(analysis.repeated_hash_ids),
        plural(analysis.blocks, "block")
    )
}

fn metrics(analysis: &Analysis, wide: bool) -> String {
    type Metric<'a> = (&'a str, Option<&'a Summary>);
    let figure = |of: fn(&Summary) -> f64| {
        move |(name, summary): &Metric<'_>| {
            let digits = if name.ends_with("Rates") { 4 } else { 2 };
            summary.map_or("-".to_owned(), |summary| format!("{:.digits$}", of(summary)))
        }
    };
    let columns = vec![
        Column::names("", |(name, _): &Metric<'_>| (*name).to_owned()),
        Column::new("Mean", figure(|summary| summary.mean)),
        Column::new("Std Dev", figure(|summary| summary.std)),
        Column::wide("Min", figure(|summary| summary.min)),
        Column::wide("P25", figure(|summary| summary.p25)),
        Column::new("Median", figure(|summary| summary.median)),
        Column::wide("P75", figure(|summary| summary.p75)),
        Column::new("Max", figure(|summary| summary.max)),
    ];
    let metrics: Vec<Metric<'_>> = analysis.metrics.iter().collect();
    table(columns, &metrics, wide)
}

/// Writes a line for every power of two.
fn curves(analysis: &Analysis, wide: bool) -> String {
    let Some(last) = analysis.curves.iter().filter_map(|curve| curve.points.last()).map(|point| point.capacity).max()
    else {
        return String::new();
    };
    let mut columns = vec![Column::names("Blocks per worker", |capacity: &u64| count(*capacity))];
    columns.extend(analysis.curves.iter().map(|curve| {
        Column::new(plural(curve.workers, "worker"), |capacity: &u64| format!("{:.4}", curve.hit_rate(*capacity)))
    }));
    let powers = (0..64).map(|power| 1_u64 << power);
    let capacities: Vec<u64> = powers.take_while(|&capacity| capacity < last).chain([last]).collect();
    let table = table(columns, &capacities, wide);
    format!("Block hit rate by cache size; requests go to the workers in turn\n{table}")
}

fn arrivals(analysis: &Analysis, wide: bool) -> String {
    type WindowColumn<'a> = Column<'a, Window>;
    let arrivals = &analysis.arrivals;
    let columns = vec![
        WindowColumn::names("From second", |window| count(window.start_ms / 1000)),
        WindowColumn::new("Requests", |window| count(window.requests)),
        WindowColumn::new("Blocks", |window| count(window.blocks)),
        WindowColumn::new("Distinct blocks", |window| count(window.distinct_blocks)),
        WindowColumn::new("New blocks", |window| count(window.new_blocks)),
    ];
    let whole = analysis.whole_windows();
    let step = whole.len().div_ceil(ROWS).max(1);
    let every = if step > 1 { format!(", one window of {step}; --json has all") } else { String::new() };
    let working_set = if whole.is_empty() {
        "No window lies within the trace, so there is no working set over time".to_owned()
    } else {
        format!("Working set over time{every}\n{}", table(columns, whole.iter().step_by(step), wide))
    };
    let rate = arrivals
        .requests_per_second
        .map_or("all requests".to_owned(), |per_second| format!("{} requests/s", rate(per_second)));
    let over = if arrivals.duration_ms > 0 {
        format!("over {}", milliseconds(arrivals.duration_ms as f64))
    } else {
        "at one time".to_owned()
    };
    let gaps = arrivals.gap_ms.map_or(String::new(), |gap| {
        format!("\nfrom one to the next {} on average, at most {}", milliseconds(gap.mean), milliseconds(gap.max))
    });
    format!(
        "{rate} {over}, {} in the busiest window of {}{gaps}\n{working_set}",
        count(arrivals.busiest_window_requests),
        milliseconds(analysis.window_ms as f64)
    )
}

fn sessions(analysis: &Analysis) -> String {
    let Some(sessions) = &analysis.sessions else { return String::new() };
    let gaps =
        sessions.gap_ms.map_or(String::new(), |gap| format!("{} between\ntheir requests, ", milliseconds(gap.mean)));
    format!(
        "{} with {}: {:.1} each on average, at most {}; {gaps}{} from first to last\n",
        plural(sessions.sessions, "session"),
        plural(sessions.requests, "request"),
        sessions.requests_per_session.mean,
        sessions.requests_per_session.max,
        milliseconds(sessions.duration_ms.mean)
    )
}

fn milliseconds(ms: f64) -> String {
    seconds(ms / 1e3)
}
