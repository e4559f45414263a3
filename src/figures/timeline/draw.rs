//! A row for each thread, with bars for what it did and lines for publications: the whole excerpt, and an enlarged
//! part.

use std::cmp::Reverse;

use super::{Activity, Timeline};
use crate::figures::words::{count, many, time};
use crate::report::{Axis, Chart, Figure, Point, Series, Unit};

const WIDTH: u32 = 1100;
const ROW: u32 = 320;
/// Half of a bar's height, in rows.
const HALF: f64 = 0.3;
/// The least distance between labels of generations, as a fraction of the width of the chart.
const APART: f64 = 0.06;
/// Length of the enlarged part in nanoseconds.
const PART_NS: i64 = 50_000;

pub(in crate::figures) fn draw(data: &Timeline) -> Figure {
    let length = length(data);
    let part = part(data);
    let end = part.saturating_add(PART_NS).min(length);
    let figure = Figure::new("Nobody waits: a writer and two readers of one shard")
        .note(format!(
            "The {} of a run of {} in which the most lookups ({}) started while the writer was working. All threads \
             rest between tasks, so that they can be seen running on {}. Numbers are generations.",
            time(data.length_ns as f64),
            time(data.run.length_ns as f64),
            data.beside,
            many(data.cores.into(), "core"),
        ))
        .size(WIDTH, ROW)
        .chart(chart(data, "The whole excerpt", (0, length)));
    let title = format!("The {} of it with the most lookups while the writer was working", time((end - part) as f64));
    figure.chart(chart(data, &title, (part, end)))
}

fn length(data: &Timeline) -> i64 {
    i64::try_from(data.length_ns).unwrap_or(i64::MAX)
}

/// Returns the start of the part in which the most lookups start while the writer is working. They are in its middle.
fn part(data: &Timeline) -> i64 {
    let busy = |at: &i64| data.writer.iter().any(|work| (work.from_ns..work.to_ns).contains(at));
    let mut beside: Vec<i64> = data.readers.iter().flatten().map(|lookup| lookup.from_ns).filter(busy).collect();
    beside.sort_unstable();
    let within = |first: usize| beside.partition_point(|at| at.saturating_sub(beside[first]) < PART_NS) - first;
    let most = (0..beside.len()).max_by_key(|&first| (within(first), Reverse(first)));
    let middle = most.map_or(0, |first| beside[first].midpoint(beside[first + within(first) - 1]));
    middle.saturating_sub(PART_NS / 2).min(length(data) - PART_NS).max(0)
}

/// Draws everything that happened between two times. What goes on beyond one of them is cut there, and counted in the
/// title.
fn chart(data: &Timeline, title: &str, (from, to): (i64, i64)) -> Chart {
    let readers = data.readers.len();
    let names = (1..=readers).rev().map(|number| format!("reader {number}")).chain(["writer".to_owned()]);
    let top = readers as f64;
    let seconds = |at: i64| at as f64 / 1e9;
    let x = Axis::linear("time in the excerpt", Unit::Seconds).covering(seconds(from), seconds(to)).tight();
    let touches = |begin: i64, end: i64| begin <= to && end >= from;
    let all = data.writer.iter().map(|work| (work.from_ns, work.to_ns));
    let all = all.chain(data.readers.iter().flatten().map(|lookup| (lookup.from_ns, lookup.to_ns)));
    let title = match all.filter(|&(begin, end)| touches(begin, end) && (begin < from || end > to)).count() {
        0 => title.to_owned(),
        1 => format!("{title}; 1 bar goes on beyond it"),
        cut => format!("{title}; {cut} bars go on beyond it"),
    };
    let mut chart = Chart::new(title, x, Axis::names("", names).covering(-0.6, top + 0.9));

    let bar = |row: f64, begin: i64, end: i64| -> (Point, Point) {
        ((seconds(begin.max(from)), row - HALF), (seconds(end.min(to)), row + HALF))
    };
    let mut last = f64::NEG_INFINITY;
    for work in data.writer.iter().filter(|work| (from..=to).contains(&work.to_ns)) {
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
        let work = data.writer.iter().filter(|work| wanted(work.what) && touches(work.from_ns, work.to_ns));
        work.map(|work| bar(top, work.from_ns, work.to_ns)).collect()
    };
    let lookups = |odd: u64| -> Vec<(Point, Point)> {
        let rows = data.readers.iter().enumerate().map(|(number, lookups)| ((readers - 1 - number) as f64, lookups));
        let lookups = rows.flat_map(|(row, lookups)| lookups.iter().map(move |lookup| (row, lookup)));
        let seen = lookups
            .filter(|(_, lookup)| lookup.generation % 2 == odd && touches(lookup.from_ns, lookup.to_ns))
            .map(|(row, lookup)| bar(row, lookup.from_ns, lookup.to_ns));
        seen.collect()
    };
    chart
        .series(Series::rectangles("applies an event", work(|what| matches!(what, Activity::Apply(_)))))
        .series(Series::rectangles("publishes", work(|what| matches!(what, Activity::Publish(_)))))
        .series(Series::rectangles("looks up, sees an even generation", lookups(0)))
        .series(Series::rectangles("looks up, sees an odd generation", lookups(1)))
}

pub(in crate::figures) fn caption(data: &Timeline) -> String {
    let run = data.run;
    let shown: usize = data.readers.iter().map(Vec::len).sum();
    format!(
        "Nobody waits. {} of a run of {}, chosen because the most lookups started while the writer was working (for \
         the reader with the fewest of them): {} of {}, during {} tasks of the writer. The colour of a reader changes \
         with its first lookup after a publication. In the whole run, {} were applied and {} snapshots published \
         during {}, which took {} in the median and {} at most; in the longest, the thread may have lost its core. \
         The {} that started while the writer was applying or publishing took {} in the median. {} saw an older \
         generation than the lookup before it.",
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
