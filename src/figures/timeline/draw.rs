//! A row for every thread; what it did as bars, publications as lines across the readers. All of it, and a part larger.

use std::cmp::Reverse;

use super::{Activity, Timeline};
use crate::figures::words::{count, many, time};
use crate::report::{Axis, Chart, Figure, Point, Series, Unit};

const WIDTH: u32 = 1100;
const ROW: u32 = 320;
/// Half of a bar's height, in rows.
const HALF: f64 = 0.3;
/// Labels of generations stand no closer than this part of the chart's width.
const APART: f64 = 0.06;
/// The part that is shown larger, in nanoseconds.
const PART_NS: u64 = 50_000;

pub(in crate::figures) fn draw(data: &Timeline) -> Figure {
    let part = part(data);
    let end = part.saturating_add(PART_NS).min(data.length_ns);
    let figure = Figure::new("Nobody waits: a writer and two readers of one shard")
        .note(format!(
            "The {} of a run of {} in which most lookups, {}, began while the writer was at work. The threads rest between \
             what they do, so that all can be seen running on {}. Numbers are generations.",
            time(data.length_ns as f64),
            time(data.run.length_ns as f64),
            data.beside,
            many(data.cores.into(), "core"),
        ))
        .size(WIDTH, ROW)
        .chart(chart(data, "The whole excerpt", (0, data.length_ns)));
    let title = format!("The {} of it in which most lookups ran beside the writer's work", time((end - part) as f64));
    figure.chart(chart(data, &title, (part, end)))
}

/// Where the part begins in which most lookups begin while the writer works; they are in its middle.
fn part(data: &Timeline) -> u64 {
    let busy = |at: &u64| data.writer.iter().any(|work| (work.from_ns..work.to_ns).contains(at));
    let mut beside: Vec<u64> = data.readers.iter().flatten().map(|lookup| lookup.from_ns).filter(busy).collect();
    beside.sort_unstable();
    let within = |first: usize| beside.partition_point(|at| at - beside[first].min(*at) < PART_NS) - first;
    let most = (0..beside.len()).max_by_key(|&first| (within(first), Reverse(first)));
    let middle = most.map_or(0, |first| beside[first].midpoint(beside[first + within(first) - 1]));
    middle.saturating_sub(PART_NS / 2).min(data.length_ns.saturating_sub(PART_NS))
}

/// Activity happened wholly between two times.
fn chart(data: &Timeline, title: &str, (from, to): (u64, u64)) -> Chart {
    let readers = data.readers.len();
    let names = (1..=readers).rev().map(|number| format!("reader {number}")).chain(["writer".to_owned()]);
    let top = readers as f64;
    let seconds = |at: u64| at as f64 / 1e9;
    let x = Axis::linear("time in the excerpt", Unit::Seconds).covering(seconds(from), seconds(to));
    let mut chart = Chart::new(title, x, Axis::names("", names).covering(-0.6, top + 0.9));

    let inside = |begin: u64, end: u64| begin >= from && end <= to;
    let bar = |row: f64, begin: u64, end: u64| -> (Point, Point) {
        ((seconds(begin), row - HALF), (seconds(end), row + HALF))
    };
    let mut last = f64::NEG_INFINITY;
    for work in data.writer.iter().filter(|work| inside(work.from_ns, work.to_ns)) {
        if let Activity::Publish(generation) = work.what {
            let at = seconds(work.to_ns);
            chart = chart.series(Series::line("a new generation is visible", vec![(at, -0.5), (at, top - 0.4)]));
            if at - last > APART * seconds(to - from) {
                chart = chart.label((at, top + 0.6), generation.to_string());
                last = at;
            }
        }
    }
    let work = |wanted: fn(Activity) -> bool| -> Vec<(Point, Point)> {
        let work = data.writer.iter().filter(|work| wanted(work.what) && inside(work.from_ns, work.to_ns));
        work.map(|work| bar(top, work.from_ns, work.to_ns)).collect()
    };
    let lookups = |odd: u64| -> Vec<(Point, Point)> {
        let rows = data.readers.iter().enumerate().map(|(number, lookups)| ((readers - 1 - number) as f64, lookups));
        let lookups = rows.flat_map(|(row, lookups)| lookups.iter().map(move |lookup| (row, lookup)));
        let seen = lookups
            .filter(|(_, lookup)| lookup.generation % 2 == odd && inside(lookup.from_ns, lookup.to_ns))
            .map(|(row, lookup)| bar(row, lookup.from_ns, lookup.to_ns));
        seen.collect()
    };
    chart
        .series(Series::rectangles("applies an event", work(|what| matches!(what, Activity::Apply(_)))))
        .series(Series::rectangles("publishes", work(|what| matches!(what, Activity::Publish(_)))))
        .series(Series::rectangles("looks up, and sees an even generation", lookups(0)))
        .series(Series::rectangles("an odd one", lookups(1)))
}

pub(in crate::figures) fn caption(data: &Timeline) -> String {
    let run = data.run;
    let shown: usize = data.readers.iter().map(Vec::len).sum();
    format!(
        "Nobody waits. {} of a run of {}, chosen as the excerpt in which most lookups began while the writer was at work \
         (for the reader that has fewest of them): {} of {}, beside {} things that the writer did. A reader's colour changes with its first lookup \
         after a publication. In the whole run, {} were applied and {} snapshots published beside {}: {} in the median, \
         {} at the longest, in which a thread may have lost its core. The {} that began while the writer was applying or \
         publishing took {} in the median. {} saw an older generation than the lookup before it.",
        time(data.length_ns as f64),
        time(run.length_ns as f64),
        data.beside,
        many(shown as u64, "lookup"),
        data.writer.len(),
        many(run.events, "event"),
        count(run.publications),
        many(run.lookups, "lookup"),
        time(run.lookup_p50_ns as f64),
        time(run.lookup_max_ns as f64),
        count(run.beside),
        time(run.beside_p50_ns as f64),
        if run.backwards == 0 { "None".to_owned() } else { count(run.backwards) },
    )
}
