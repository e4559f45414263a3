//! An analysis as a figure.

use super::{Analysis, Histogram};
use crate::report::{Axis, Chart, Figure, Point, Series, Unit};

/// Draws the hit rate against the cache size, the working set over time, and histograms of lengths. Leaves out charts
/// that have nothing to show.
pub fn figure(analysis: &Analysis) -> Figure {
    let hits = analysis
        .block_weighted_hit_rate
        .map_or(String::new(), |rate| format!("; an infinite cache hits {:.1}% of the blocks", 100.0 * rate));
    let note = format!(
        "{} requests, {} blocks, {} of them distinct{hits}",
        analysis.requests, analysis.blocks, analysis.unique_hash_ids
    );
    let working_set = working_set(analysis);
    let windows = match (&working_set, analysis.windows.first()) {
        (None, _) => {
            let seconds = analysis.window_ms as f64 / 1e3;
            format!("No window of {seconds} s lies within the trace, so there is no working set over time.")
        }
        (_, Some(first)) if first.start_ms > 0 => {
            "The first and the last window are cut short by the beginning and the end of the trace; they are left out of \
             the working set over time."
                .to_owned()
        }
        _ => "The last window is cut short by the end of the trace; it is left out of the working set over time.".to_owned(),
    };
    let charts = [hit_rate(analysis), working_set].into_iter().flatten();
    let charts = charts.chain(analysis.histograms.iter().map(lengths));
    charts.fold(Figure::new(&*analysis.file).note(note).note(windows).columns(2), Figure::chart)
}

fn hit_rate(analysis: &Analysis) -> Option<Chart> {
    let x = Axis::log("capacity per worker", Unit::Of("blocks".to_owned()));
    let y = Axis::linear("blocks hit", Unit::Share).covering(0.0, 1.0);
    let mut chart = Chart::new("Hit rate by cache size, round-robin routing", x, y);
    let mut empty = true;
    for curve in &analysis.curves {
        let points = curve.points.iter().filter(|point| point.capacity > 0);
        let points: Vec<_> = points.map(|point| (point.capacity as f64, point.hit_rate)).collect();
        let name = if curve.workers == 1 { "1 worker".to_owned() } else { format!("{} workers", curve.workers) };
        empty &= points.is_empty();
        chart = chart.series(Series::line(name, points));
    }
    (!empty).then_some(chart)
}

/// Draws the working set of every window that is whole. Returns `None` if none is.
fn working_set(analysis: &Analysis) -> Option<Chart> {
    let (whole, windows) = (analysis.whole_windows(), &analysis.windows);
    // The last window is never whole, so every whole one has another behind it.
    let behind = &windows[windows.len() - whole.len()..];
    let seconds = |ms: u64| ms as f64 / 1e3;
    let mut points: Vec<Point> = Vec::new();
    for (window, next) in whole.iter().zip(behind) {
        points.push((seconds(window.start_ms), window.distinct_blocks as f64));
        // A gap without requests has no working set.
        let end = window.start_ms + analysis.window_ms;
        if end < next.start_ms {
            points.push((seconds(end), 0.0));
        }
    }
    let &(_, last) = points.last()?;
    points.push((seconds(windows.last()?.start_ms), last));
    let title = format!("Working set over time, in windows of {} s", seconds(analysis.window_ms));
    let x = Axis::linear("time", Unit::Of("s".to_owned()));
    let y = Axis::linear("distinct blocks", Unit::Of(String::new())).covering(0.0, 0.0);
    Some(Chart::new(title, x, y).series(Series::steps("", points)))
}

fn lengths(histogram: &Histogram) -> Chart {
    let starts = histogram.bins.iter().map(|bin| bin.0);
    let width = histogram.bins.get(1).map_or(1.0, |second| second.0 - histogram.bins[0].0);
    let bars = starts.zip(&histogram.bins).map(|(start, bin)| (start, start + width, bin.1 as f64)).collect();
    let (x, y) = (Unit::Of("tokens".to_owned()), Unit::Of(String::new()));
    Chart::new(histogram.name, Axis::linear("length", x), Axis::linear("requests", y)).series(Series::bars("", bars))
}
