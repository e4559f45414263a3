//! The charts of a page. Each compares all policies, with the same colours in all charts.

use super::measures::{BLOCK_HITS, IMBALANCE, Measure, TTFT, TTFT_P99};
use super::words;
use crate::report::{self, Chart, Point, Series, Unit};
use crate::route::policy;
use crate::sim::{Bins, ExperimentAxis, Interval, PolicyReport, Report, Times};

/// A chart and its caption.
pub(super) struct Captioned {
    pub(super) chart: Chart,
    pub(super) caption: &'static str,
}

/// Draws the charts of one cell. Leaves out charts that have nothing to show.
pub(super) fn of_cell(cell: &[PolicyReport]) -> Vec<Captioned> {
    let seconds = |label: &str| report::Axis::log(label, Unit::Seconds);
    let share = |label: &str| report::Axis::linear(label, Unit::Share).covering(0.0, 1.0);
    let first = || seconds("time since arrival");
    let number = |label: &str| report::Axis::linear(label, Unit::Of(String::new()));
    let blocks = report::Axis::log("blocks reused, at least", Unit::Of(String::new()));
    let quantiles = report::Axis::names("percentile of requests", ["50th", "95th", "99th"]);
    let statuses = || report::Axis::names("mean over requests that", ["reused a block", "reused none"]);
    let latency = Chart::new("Latency", seconds("time to last token"), share("requests answered"));
    let hits = Chart::new("Hit rate over time", report::Axis::linear("arrival time", of("s")), share("blocks reused"));
    let load = Chart::new("Load per worker", number("workers, busiest first"), share("time busy"));
    let lengths = Chart::new("Match length", blocks, share("requests"));
    let found = Chart::new("Expected and actual reuse", share("blocks expected"), share("blocks reused"))
        .identity("as expected");
    let charts = [
        (
            drawn(cell, Chart::new("Time to first token", quantiles, first()), Series::marked, first_tokens),
            "Lower is better. Reused blocks do not have to be computed before the first token.",
        ),
        (
            drawn(cell, Chart::new("First token by cache status", statuses(), first()), Series::marked, |it| {
                at_places([it.ttft_hit_ms.mean, it.ttft_miss_ms.mean])
            }),
            "How much sooner the first token comes if blocks are cached. The two groups of requests may differ in \
             other ways, too.",
        ),
        (
            drawn(cell, latency, Series::line, |it| below(&it.latency_bins)),
            "The share of requests that were answered completely within this time. Further left is better. Decoding \
             takes most of the time.",
        ),
        (
            drawn(cell, Chart::new("Latency by cache status", statuses(), first()), Series::marked, |it| {
                at_places([it.latency_hit_ms.mean, it.latency_miss_ms.mean])
            }),
            "The same for the last token. Differences in the length of answers hide most of the effect.",
        ),
        (
            drawn(cell, hits, Series::line, hits_over_time),
            "The share of prompt blocks that were found in the cache, by arrival time. Each point stands for about \
             1/24 of the requests, and is where the first of them arrived.",
        ),
        (
            drawn(cell, load, Series::line, load_by_rank),
            "A flat line means an even load. A policy whose line falls steeply overloads a few workers and leaves \
             others idle.",
        ),
        (
            drawn(cell, lengths, Series::line, |it| at_least(&it.match_blocks)),
            "The share of requests that reused at least this many blocks.",
        ),
        (
            drawn(cell, found, Series::marked, expectation),
            "The reuse that the router expected of its choices, and the actual reuse. Below the line, blocks were \
             evicted or not yet computed; above it, workers held more than the router knew.",
        ),
    ];
    charts.into_iter().filter_map(|(chart, caption)| Some(Captioned { chart: chart?, caption })).collect()
}

/// Draws a few measures along the innermost axis, for each place on the other axes where a request was finished.
pub(super) fn curves(report: &Report) -> Vec<(String, Vec<Captioned>)> {
    let Some((inner, outer)) = report.axes.split_last() else { return Vec::new() };
    let mut places: Vec<&[f64]> = Vec::new();
    for policy in &report.policies {
        let place = &policy.at[..outer.len()];
        if !places.contains(&place) {
            places.push(place);
        }
    }
    let figures = |place: &[f64]| {
        let here: Vec<&PolicyReport> = report.policies.iter().filter(|it| it.at.starts_with(place)).collect();
        let charts = [
            (curve(&here, inner, "Hit rate", &BLOCK_HITS), "The share of prompt blocks that were found in the cache."),
            (curve(&here, inner, "Time to first token, mean", &TTFT), "Lower is better."),
            (curve(&here, inner, "Time to first token, p99", &TTFT_P99), "One request in a hundred takes longer."),
            (
                curve(&here, inner, "Imbalance", &IMBALANCE),
                "The busy time of the busiest worker over the mean of all workers; 1 is even.",
            ),
        ];
        charts.into_iter().map(|(chart, caption)| Captioned { chart, caption }).collect()
    };
    places.retain(|place| report.policies.iter().any(|it| it.at.starts_with(place) && it.finished > 0));
    places.into_iter().map(|place| (words::values(outer, place), figures(place))).collect()
}

fn curve(reports: &[&PolicyReport], axis: &ExperimentAxis, title: &str, measure: &Measure) -> Chart {
    let x = along(axis);
    let (y, unit) = match measure.key {
        "block_hit_rate" => (report::Axis::linear("blocks reused", Unit::Share).covering(0.0, 1.0), 1.0),
        "load_imbalance" => (report::Axis::linear("busiest / mean", Unit::Of(String::new())).covering(1.0, 1.0), 1.0),
        // Milliseconds.
        _ => (report::Axis::linear("time since arrival", Unit::Seconds).covering(0.0, 0.0), 1e-3),
    };
    let mut names: Vec<&str> = Vec::new();
    for report in reports {
        if !names.contains(&&*report.name) {
            names.push(&report.name);
        }
    }
    let points = |name: &str| {
        let here = reports.iter().filter(|it| it.name == name);
        let points = here.filter_map(|it| Some((*it.at.last()?, (measure.get)(it) * unit)));
        // Where nothing was finished, there is nothing to show.
        points.filter(|point| !point.1.is_nan()).collect()
    };
    let series = names.into_iter().map(|name| looking(Series::marked(name, points(name)), name));
    series.fold(Chart::new(title, x, y), Chart::series)
}

/// Points of a line over time, at most.
const POINTS: u64 = 24;

/// Turns an axis of an experiment into one of a chart: logarithmic if its values span a wide range.
fn along(axis: &ExperimentAxis) -> report::Axis {
    let (least, most) =
        axis.values.iter().fold((f64::MAX, f64::MIN), |(least, most), &it| (least.min(it), most.max(it)));
    let unit = if axis.unit == "s" { Unit::Seconds } else { Unit::Of(axis.unit.replace(&axis.name, "")) };
    let log = least > 0.0 && most / least >= 8.0;
    if log { report::Axis::log(&axis.name, unit) } else { report::Axis::linear(&axis.name, unit) }
}

/// Adds a series for each policy. Returns `None` if none has a point.
fn drawn(
    cell: &[PolicyReport],
    chart: Chart,
    series: fn(String, Vec<Point>) -> Series,
    points: impl Fn(&PolicyReport) -> Vec<Point>,
) -> Option<Chart> {
    let all: Vec<_> = cell.iter().map(|it| (it.name.clone(), points(it))).collect();
    let empty = all.iter().all(|(_, points)| points.is_empty());
    let series = all.into_iter().map(|(name, points)| looking(series(name.clone(), points), &name));
    let chart = series.fold(chart, Chart::series);
    (!empty).then_some(chart)
}

/// Gives a policy the look that it has in every report, whichever policies are in it.
fn looking(series: Series, policy: &str) -> Series {
    let number = policy::NAMES.iter().position(|name| *name == policy);
    number.map_or(series.clone(), |number| series.look(number))
}

fn of(unit: &str) -> Unit {
    Unit::Of(unit.to_owned())
}

/// Places milliseconds on an axis of names. A logarithmic axis cannot show 0, so zeros are left out.
fn at_places<const N: usize>(ms: [f64; N]) -> Vec<Point> {
    (0..).map(f64::from).zip(ms).map(|(place, ms)| (place, ms / 1e3)).filter(|point| point.1 > 0.0).collect()
}

fn first_tokens(policy: &PolicyReport) -> Vec<Point> {
    let Times { p50, p95, p99, .. } = policy.ttft_ms;
    at_places([p50, p95, p99])
}

fn expectation(policy: &PolicyReport) -> Vec<Point> {
    let asked = policy.blocks.asked.max(1) as f64;
    vec![(policy.blocks.predicted as f64 / asked, policy.blocks.reused as f64 / asked)]
}

/// Returns the share of requests below each edge, with the edges in seconds instead of milliseconds.
fn below(bins: &Bins) -> Vec<Point> {
    let all = bins.counts.iter().sum::<u64>() as f64;
    let sums = bins.counts.iter().scan(0, |sum, &count| {
        *sum += count;
        Some(*sum as f64 / all)
    });
    let points: Vec<Point> = bins.edges.iter().skip(1).map(|edge| edge / 1e3).zip(sums).collect();
    // Starts with the last edge before the first answer.
    let from = points.iter().position(|point| point.1 > 0.0).unwrap_or(points.len());
    points[from.saturating_sub(1)..].iter().copied().filter(|_| all > 0.0).collect()
}

/// Returns the share of requests at or above each edge.
fn at_least(bins: &Bins) -> Vec<Point> {
    let all = bins.counts.iter().sum::<u64>();
    let rest = bins.counts.iter().scan(all, |rest, &count| {
        let here = *rest;
        *rest -= count;
        Some(here as f64 / all as f64)
    });
    bins.edges.iter().copied().zip(rest).filter(|&(edge, share)| edge > 0.0 && share > 0.0).collect()
}

/// Returns the hit rate over time. Each point stands for about equally many requests, so that none depends on a few,
/// and together they stand for all.
fn hits_over_time(policy: &PolicyReport) -> Vec<Point> {
    let all = policy.over_time.iter().map(|interval| interval.requests).sum::<u64>();
    let mut points = Vec::new();
    let mut sum = Interval::default();
    let mut seen = 0;
    for interval in policy.over_time.iter().filter(|interval| interval.requests > 0) {
        if sum.requests == 0 {
            sum.start_s = interval.start_s;
        }
        seen += interval.requests;
        sum.requests += interval.requests;
        sum.asked += interval.asked;
        sum.reused += interval.reused;
        if seen * POINTS >= all * (points.len() as u64 + 1) {
            points.push((sum.start_s, sum.reused as f64 / sum.asked.max(1) as f64));
            sum = Interval::default();
        }
    }
    points
}

fn load_by_rank(policy: &PolicyReport) -> Vec<Point> {
    let mut busy: Vec<f64> = policy.busy_s_per_worker.iter().map(|busy| busy / policy.span_s).collect();
    busy.retain(|share| share.is_finite());
    busy.sort_by(|a, b| b.total_cmp(a));
    (1..).map(f64::from).zip(busy).collect()
}
