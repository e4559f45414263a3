//! A heat map for each kind of event, in shades of one scale.

use super::{Cell, Density, TimeUnit};
use crate::figures::words::{count, many};
use crate::report::{Axis, Chart, Figure, Shades, Unit};

/// Width of the figure, and height of each of its heat maps.
const WIDTH: u32 = 960;
const ROW: u32 = 270;

/// A kind of event, and how it is counted.
type Kind = (&'static str, fn(&Cell) -> u64);

const KINDS: [Kind; 3] =
    [("Stored", |cell| cell.stored), ("Removed", |cell| cell.removed), ("Cleared", |cell| cell.cleared)];

/// Draws a heat map for each kind of event that happened.
pub(in crate::figures) fn draw(data: &Density) -> Figure {
    // Without clearings: those drop a whole cache at once, which would leave one shade for everything else.
    let most = data.cells.iter().map(|cell| cell.stored.max(cell.removed)).max().unwrap_or(0);
    let shades = Shades::up_to(most as f64, "blocks");
    let note = match data.clock {
        TimeUnit::Seconds => format!("Each cell shows the blocks of one worker in {} s of virtual time.", data.step),
        TimeUnit::Requests => format!("Each cell shows the blocks of one worker during {} requests.", data.step),
    };
    let figure = Figure::new("KV events per worker over time")
        .note(note)
        .note(format!("Workload: {}.", data.source))
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
    let counts = format!(
        "KV events per worker over time. Workload: {}. {} requests, {} events of {}; {} blocks stored, {} removed, {} \
         cleared. The most that one worker stored in {} {unit} is {} blocks, after {}. Strong cells next to weak ones \
         are bursts.",
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
            " The first block is removed after {}. A full cache removes about as many blocks as it stores, so the \
             index must remove as fast as it stores.",
            at(column)
        ),
        None => " No cache was full, so nothing was removed.".to_owned(),
    };
    let clearing = match data.clearings() {
        0 => String::new(),
        clearings => format!(
            " {} cleared a cache. Each is a single cell, because one event drops everything that the worker holds. \
             After it, the worker stores without removing anything until its cache is full again.",
            many(clearings, "reset"),
        ),
    };
    counts + &removing + &clearing
}
