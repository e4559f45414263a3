//! Places by position and by order; both searches in one chart.

use super::Search;
use crate::figures::words::{count, many};
use crate::index::Found;
use crate::report::{Axis, Chart, Figure, Point, Series, Unit};

const WIDTH: u32 = 960;
const ROW: u32 = 360;
/// Blocks around the end of the match that are shown again, larger.
const CLOSE: f64 = 40.0;

const KINDS: [(Found, &str); 4] = [
    (Found::Head, "a head: the path goes on in that run"),
    (Found::NoHead, "no such head"),
    (Found::Same, "in an array: the same prefix"),
    (Found::Other, "in an array: another prefix"),
];

pub(in crate::figures) fn draw(data: &Search) -> Figure {
    let position = || Axis::linear("position in the query", Unit::Of("blocks".to_owned()));
    // Room for rings at the origin.
    let x = position().covering(-0.02 * f64::from(data.query), data.query.into());
    let y = Axis::log("places so far", Unit::Of(String::new())).covering(0.8, data.scan.max(1).into());
    let order = |number: usize| number as f64 + 1.0;
    let path: Vec<Point> =
        data.probes.iter().enumerate().map(|(number, probe)| (probe.position.into(), order(number))).collect();
    // Straight on a linear axis; on this one, places that are close enough for a curve.
    let mut scan: Vec<Point> = Vec::new();
    let mut at = 0;
    while at < data.scan {
        scan.push((at.into(), order(at as usize)));
        at = at.saturating_add((at / 16).max(1));
    }
    scan.extend(data.scan.checked_sub(1).map(|last| (f64::from(last), order(last as usize))));
    let rings = |chart: Chart, first: usize| {
        KINDS.iter().fold(chart, |chart, &(kind, name)| {
            let found = data.probes.iter().zip(&path).skip(first).filter(|(probe, _)| probe.found == kind);
            chart.series(Series::rings(name, found.map(|(_, &place)| place).collect()))
        })
    };
    let matching =
        |chart: Chart| chart.vertical(data.depth.into(), format!("{} blocks match", count(data.depth.into())));
    let whole = Chart::new("From the root", x, y)
        .series(Series::line("jump search", path.clone()).strong())
        .series(Series::line("scan, every position", scan));
    // What follows the last place that is far from the end.
    let close = |place: &Point| (place.0 - f64::from(data.depth)).abs() <= CLOSE;
    let far = path.iter().rposition(|place| !close(place)).map_or(0, |far| far + 1);
    // Room above for what is written there.
    let places = Axis::linear("places so far", Unit::Of(String::new())).covering(0.0, order(path.len() + 1));
    let zoom = Chart::new("The end of it", position(), places)
        .series(Series::line("jump search", path[far..].to_vec()).strong());
    Figure::new("Jump search: what a lookup looks at")
        .note(format!(
            "A query of {} blocks, the one of {} that looked at the most places: {}, where a scan looks at {}.",
            count(data.query.into()),
            count(data.lookups),
            data.probes.len(),
            count(data.scan.into()),
        ))
        .size(WIDTH, ROW)
        .chart(matching(rings(whole, 0)))
        .chart(matching(rings(zoom, far)))
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
