//! A heat map for each kind of event, in shades of one scale.

use super::{Cell, Density, TimeUnit};
use crate::figures::words::{count, many};
use crate::report::{Axis, Chart, Figure, Shades, Unit};

/// Of the figure, and of each of its heat maps.
const WIDTH: u32 = 960;
const ROW: u32 = 270;

/// A kind of event, and how to count it.
type Kind = (&'static str, fn(&Cell) -> u64);

const KINDS: [Kind; 3] =
    [("Stored", |cell| cell.stored), ("Removed", |cell| cell.removed), ("Cleared", |cell| cell.cleared)];

/// What never happened has no chart.
pub(in crate::figures) fn draw(data: &Density) -> Figure {
    // Of what comes little by little: a whole cache at once would leave one shade for all of it.
    let most = data.cells.iter().map(|cell| cell.stored.max(cell.removed)).max().unwrap_or(0);
    let shades = Shades::up_to(most as f64, "blocks");
    let note = match data.clock {
        TimeUnit::Seconds => format!("A cell is what one worker said in {} s of virtual time.", data.step),
        TimeUnit::Requests => format!("A cell is what one worker said while {} requests came.", data.step),
    };
    let figure = Figure::new("What workers say: blocks stored, removed and cleared")
        .note(note)
        .note(format!("Played: {}.", data.source))
        .size(WIDTH, ROW);
    KINDS.iter().filter(|(_, of)| data.cells.iter().any(|cell| of(cell) > 0)).fold(figure, |figure, &(name, of)| {
        let x = match data.clock {
            TimeUnit::Seconds => Axis::linear("virtual time", Unit::Of("s".to_owned())),
            TimeUnit::Requests => Axis::linear("requests so far", Unit::Of(String::new())),
        };
        let end = data.cells.iter().map(|cell| cell.column + 1).max().unwrap_or(0);
        let x = x.covering(0.0, f64::from(end) * data.step);
        let y = Axis::linear("worker", Unit::Of(String::new())).covering(-0.5, data.workers.len() as f64 - 0.5);
        let cells = data.cells.iter().map(|cell| {
            let (left, middle) = (f64::from(cell.column) * data.step, f64::from(cell.worker));
            ((left, middle - 0.5), (left + data.step, middle + 0.5), of(cell) as f64)
        });
        figure.chart(shades.series(cells).into_iter().fold(Chart::new(name, x, y), Chart::series))
    })
}

pub(in crate::figures) fn caption(data: &Density) -> String {
    let [stored, removed, cleared] = data.totals();
    let busiest = data.cells.iter().max_by_key(|cell| cell.stored).copied().unwrap_or_default();
    let first = data.cells.iter().filter(|cell| cell.removed > 0).map(|cell| cell.column).min();
    let unit = match data.clock {
        TimeUnit::Seconds => "s",
        TimeUnit::Requests => "requests",
    };
    let at = |column: u32| format!("{} {unit}", f64::from(column) * data.step);
    let said = format!(
        "What workers say. Played: {}. {} requests, {} events of {}; {} blocks stored, {} removed, {} cleared. The most \
         that one worker stored in {} {unit} is {} blocks, after {}; strong and weak cells side by side are bursts.",
        data.source,
        count(data.requests),
        count(data.events),
        many(data.workers.len() as u64, "worker"),
        count(stored),
        count(removed),
        count(cleared),
        data.step,
        count(busiest.stored),
        at(busiest.column),
    );
    let removing = match first {
        Some(column) => format!(
            " The first block is removed after {}. A cache that is full removes about as much as it stores, so removing \
             must be as fast.",
            at(column)
        ),
        None => " No cache was full, so nothing was removed.".to_owned(),
    };
    let clearing = match data.clearings() {
        0 => String::new(),
        clearings => format!(
            " {} cleared a cache, each a single cell: one event drops all that the worker held, and then it stores anew \
             and removes nothing until it is full again.",
            many(clearings, "reset"),
        ),
    };
    said + &removing + &clearing
}
