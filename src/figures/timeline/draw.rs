//! A row for every thread; what it did as bars, publications as lines across.

use super::{Timeline, What};
use crate::figures::words::{count, many, time};
use crate::report::{Axis, Chart, Figure, Point, Series, Unit};

const WIDTH: u32 = 1100;
const ROW: u32 = 360;
/// Half of a bar's height, in rows.
const HALF: f64 = 0.3;
/// Labels of generations stand no closer than this part of the excerpt.
const APART: f64 = 0.055;

pub(in crate::figures) fn draw(data: &Timeline) -> Figure {
    let readers = data.readers.len();
    let names = (1..=readers).rev().map(|number| format!("reader {number}")).chain(["writer".to_owned()]);
    let top = readers as f64;
    let x = Axis::linear("time in the excerpt", Unit::Seconds).covering(0.0, data.length_ns as f64 / 1e9);
    let mut chart = Chart::new("", x, Axis::names("", names).covering(-0.6, top + 0.75));

    let bar = |row: f64, from: u64, to: u64| {
        let (from, to) = (from as f64 / 1e9, to as f64 / 1e9);
        ((from, row - HALF), (to, row + HALF))
    };
    let mut last = f64::NEG_INFINITY;
    for work in &data.writer {
        if let What::Publish(generation) = work.what {
            let at = work.to_ns as f64 / 1e9;
            chart = chart.series(Series::line("a new generation is visible", vec![(at, -0.5), (at, top + 0.5)]));
            if at - last > APART * data.length_ns as f64 / 1e9 {
                chart = chart.label((at, top + 0.6), generation.to_string());
                last = at;
            }
        }
    }
    let work = |wanted: fn(What) -> bool| -> Vec<(Point, Point)> {
        let work = data.writer.iter().filter(|work| wanted(work.what));
        work.map(|work| bar(top, work.from_ns, work.to_ns)).collect()
    };
    let lookups = |odd: u64| -> Vec<(Point, Point)> {
        let rows = data.readers.iter().enumerate().map(|(number, lookups)| ((readers - 1 - number) as f64, lookups));
        let lookups = rows.flat_map(|(row, lookups)| lookups.iter().map(move |lookup| (row, lookup)));
        let seen = lookups.filter(|(_, lookup)| lookup.generation % 2 == odd);
        seen.map(|(row, lookup)| bar(row, lookup.from_ns, lookup.to_ns)).collect()
    };
    let chart = chart
        .series(Series::rectangles("applies an event", work(|what| matches!(what, What::Apply(_)))))
        .series(Series::rectangles("publishes", work(|what| matches!(what, What::Publish(_)))))
        .series(Series::rectangles("looks up, and sees an even generation", lookups(0)))
        .series(Series::rectangles("an odd one", lookups(1)));
    Figure::new("Nobody waits: a writer and two readers of one shard")
        .note(format!(
            "The {} of a run of {} in which the longest pause of any of the threads was shortest: {}. The threads rest \
             between what they do, so that three can be seen on two cores. Numbers are generations.",
            time(data.length_ns as f64),
            time(data.run.length_ns as f64),
            time(data.longest_pause_ns as f64),
        ))
        .size(WIDTH, ROW)
        .chart(chart)
}

pub(in crate::figures) fn caption(data: &Timeline) -> String {
    let run = data.run;
    let shown: usize = data.readers.iter().map(Vec::len).sum();
    format!(
        "Nobody waits. {} of a run of {}, chosen as the excerpt in which the longest pause of any of the three threads is \
         shortest ({}), with {} and {} things that the writer did. A reader's colour changes with its first lookup \
         after a publication. In the whole run, {} were applied and {} snapshots published beside {}: {} in the median, {} \
         at most, the latter that of a thread that lost its core. The {} that began while the writer was applying or \
         publishing took {} in the median. {} saw an older generation than the lookup before it.",
        time(data.length_ns as f64),
        time(run.length_ns as f64),
        time(data.longest_pause_ns as f64),
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
