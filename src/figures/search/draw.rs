//! The probes by position and order, for the jump search and a scan in one chart.

use super::Search;
use crate::figures::words::{count, many};
use crate::index::Found;
use crate::report::{Axis, Chart, Figure, Point, Series, Unit};

const WIDTH: u32 = 960;
const ROW: u32 = 360;
/// Blocks around the end of the match that are shown enlarged.
const CLOSE: f64 = 40.0;

const KINDS: [(Found, &str); 4] = [
    (Found::Head, "head found: the path continues in that run"),
    (Found::NoHead, "no head found"),
    (Found::Same, "in an array: same prefix"),
    (Found::Other, "in an array: different prefix"),
];

pub(in crate::figures) fn draw(data: &Search) -> Figure {
    let position = || Axis::linear("position in the query", Unit::Of("blocks".to_owned()));
    // Space for rings at the origin.
    let x = position().covering(-0.02 * f64::from(data.query), data.query.into());
    let y = Axis::log("probes so far", Unit::Of(String::new())).covering(0.8, data.scan.max(1).into());
    let order = |number: usize| number as f64 + 1.0;
    let path: Vec<Point> =
        data.probes.iter().enumerate().map(|(number, probe)| (probe.position.into(), order(number))).collect();
    // A scan is a straight line on a linear axis. On a logarithmic one it is a curve, drawn through enough points.
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
    // Everything after the last probe that is far from the end.
    let close = |place: &Point| (place.0 - f64::from(data.depth)).abs() <= CLOSE;
    let far = path.iter().rposition(|place| !close(place)).map_or(0, |far| far + 1);
    // Space above for the label.
    let places = Axis::linear("probes so far", Unit::Of(String::new())).covering(0.0, order(path.len() + 1));
    let zoom = Chart::new("The end of the match", position(), places)
        .series(Series::line("jump search", path[far..].to_vec()).strong());
    let figure = Figure::new("Jump search: the probes of a lookup")
        .note(format!(
            "A query of {} blocks, which needs the most probes of {} lookups: {}. A scan needs {}.",
            count(data.query.into()),
            count(data.lookups),
            data.probes.len(),
            count(data.scan.into()),
        ))
        .size(WIDTH, ROW)
        .chart(matching(rings(whole, 0)));
    // A lookup that ends far from the end of the match has nothing to enlarge.
    if far < path.len() { figure.chart(matching(rings(zoom, far))) } else { figure }
}

pub(in crate::figures) fn caption(data: &Search) -> String {
    let number = |kind: Found| data.probes.iter().filter(|probe| probe.found == kind).count();
    format!(
        "Every probe of one lookup, in order, in an index with {} held blocks. The query has {} blocks, of which {} \
         match. The lookup needs {} ({} in the table of heads, of which {} found a run, and {} in arrays); a scan \
         from the root needs {}. It is the lookup with the most probes of {}. The median is {} for these, and {} for \
         scans. If two prefixes are equal at one position, they are equal at all positions before it, so the search \
         can jump ahead and bisect.",
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
