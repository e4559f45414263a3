//! Places by position and by order; both searches in one chart.

use super::Search;
use crate::figures::words::{count, many};
use crate::index::Found;
use crate::report::{Axis, Chart, Figure, Point, Series, Unit};

const WIDTH: u32 = 960;
const ROW: u32 = 480;

const KINDS: [(Found, &str); 4] = [
    (Found::Head, "head of a run: the path goes on there"),
    (Found::NoHead, "no such head"),
    (Found::Same, "in an array: the same prefix"),
    (Found::Other, "in an array: another prefix"),
];

pub(in crate::figures) fn draw(data: &Search) -> Figure {
    let x = Axis::linear("position in the query", Unit::Of("blocks".to_owned())).covering(0.0, data.query.into());
    let y = Axis::log("places looked at so far", Unit::Of(String::new())).covering(1.0, data.scan.max(1).into());
    let order = |number: usize| number as f64 + 1.0;
    let path: Vec<Point> =
        data.probes.iter().enumerate().map(|(number, probe)| (probe.position.into(), order(number))).collect();
    // Straight on a linear axis; on this one, places that are close enough for a curve.
    let mut scan: Vec<Point> = Vec::new();
    let mut position = 0;
    while position < data.scan {
        scan.push((position.into(), order(position as usize)));
        position += (position / 16).max(1);
    }
    scan.extend(data.scan.checked_sub(1).map(|last| (f64::from(last), order(last as usize))));
    let mut chart = Chart::new("", x, y)
        .series(Series::line("jump search", path).strong())
        .series(Series::line("scan from the root, every position", scan));
    for (kind, name) in KINDS {
        let found = data.probes.iter().enumerate().filter(|(_, probe)| probe.found == kind);
        let rings = found.map(|(number, probe)| (probe.position.into(), order(number)));
        chart = chart.series(Series::rings(name, rings.collect()));
    }
    let chart = chart.vertical(data.depth.into(), format!("{} blocks match", count(data.depth.into())));
    Figure::new("Jump search: what a lookup looks at")
        .note(format!(
            "A query of {} blocks, the one of {} that looked at the most places: {}, where a scan looks at {}.",
            count(data.query.into()),
            count(data.lookups),
            data.probes.len(),
            count(data.scan.into()),
        ))
        .size(WIDTH, ROW)
        .chart(chart)
}

pub(in crate::figures) fn caption(data: &Search) -> String {
    let number = |kind: Found| data.probes.iter().filter(|probe| probe.found == kind).count();
    format!(
        "Every place that one lookup looked at, in order, among {} held blocks. The query has {} blocks, of which {} match. \
         {} were enough ({} in the table of heads, of which {} found a run, and {} in arrays), where a scan from the root \
         looks at {}. It is the lookup that looked at the most places of {}; half of these looked at {} or fewer, and a \
         scan at {}. Equality at one position is equality at all before it, so the search may jump ahead and bisect.",
        count(data.held_blocks),
        count(data.query.into()),
        count(data.depth.into()),
        many(data.probes.len() as u64, "probe"),
        number(Found::Head) + number(Found::NoHead),
        number(Found::Head),
        number(Found::Same) + number(Found::Other),
        count(data.scan.into()),
        count(data.lookups),
        data.probes_p50,
        count(data.scan_p50.into()),
    )
}
