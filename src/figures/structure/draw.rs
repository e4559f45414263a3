//! Runs and nodes as bars over their positions, each in its own row.

use super::Structure;
use crate::figures::words::many;
use crate::report::{Axis, Chart, Figure, Point, Series, Unit};

/// Width of the figure, height of a row of bars, and height of the axes around them.
const WIDTH: u32 = 960;
const LINE: u32 = 30;
const AXES: u32 = 100;
/// Half of a bar's height, in rows of the chart that has more of them.
const HALF: f64 = 0.3;
/// Width of the chart in multiples of the longest path, to leave space for the labels after the bars.
const LABELS: f64 = 1.45;

/// A run or a node.
struct Bar {
    start: f64,
    end: f64,
    parent: Option<usize>,
    /// Positions of the cutoffs.
    cutoffs: Vec<f64>,
    label: String,
}

pub(in crate::figures) fn draw(data: &Structure) -> Figure {
    let (runs, nodes) = (runs(data), nodes(data));
    let rows = runs.len().max(nodes.len());
    let end = runs.iter().chain(&nodes).map(|bar| bar.end).fold(0.0, f64::max) * LABELS;
    Figure::new("One index in two forms: position arrays and a radix tree")
        .note(
            "Each bar is an array or a node. The label says how many of its blocks the workers w0, w1, ... hold. In \
             the index, that is one number for each worker, its cutoff; in the tree, every difference between workers \
             needs a node of its own. A thin line leads from where a chain branches off to where it continues.",
        )
        .size(WIDTH, rows as u32 * LINE + AXES)
        .chart(chart("Position arrays, as kvleap has them", "run", &runs, (end, rows)))
        .chart(chart("A radix tree of the same events", "node", &nodes, (end, rows)))
}

fn runs(data: &Structure) -> Vec<Bar> {
    let bar = |run: &crate::index::Run| {
        let start = f64::from(run.start);
        let holders: Vec<String> =
            run.holdings.iter().map(|holding| format!("{} by {}", holding.cutoff, names(&holding.workers))).collect();
        Bar {
            start,
            end: start + f64::from(run.len),
            parent: run.parent,
            cutoffs: run.holdings.iter().map(|holding| start + f64::from(holding.cutoff)).collect(),
            label: if holders.is_empty() { "nobody, kept for its children".to_owned() } else { holders.join("; ") },
        }
    };
    data.runs.iter().map(bar).collect()
}

fn nodes(data: &Structure) -> Vec<Bar> {
    let bar = |node: &super::Node| {
        let start = f64::from(node.start);
        let label = if node.workers.is_empty() { "nobody".to_owned() } else { names(&node.workers) };
        Bar { start, end: start + f64::from(node.len), parent: node.parent, cutoffs: Vec::new(), label }
    };
    data.nodes.iter().map(bar).collect()
}

/// Returns the order of the rows, from the top: children below their parents, and those that branch off later first, so
/// that no line crosses a bar. Parents come before their children in the list.
fn order(bars: &[Bar]) -> Vec<usize> {
    let children = |of: Option<usize>| {
        let mut children: Vec<usize> = (0..bars.len()).filter(|&child| bars[child].parent == of).collect();
        // They are taken from the end.
        children.sort_by(|&a, &b| bars[a].start.total_cmp(&bars[b].start).then(b.cmp(&a)));
        children
    };
    let mut rows = Vec::new();
    let mut next = children(None);
    while let Some(bar) = next.pop() {
        rows.push(bar);
        next.extend(children(Some(bar)));
    }
    rows
}

/// Draws the bars up to position `end`, as high as in a chart of `rows` rows.
fn chart(title: &str, of: &str, bars: &[Bar], (end, rows): (f64, usize)) -> Chart {
    let order = order(bars);
    let names = (1..=order.len()).rev().map(|number| format!("{of} {number}"));
    let x = Axis::linear("position", Unit::Of("blocks".to_owned())).covering(0.0, end);
    let chart = Chart::new(title, x, Axis::names("", names));
    let half = HALF * order.len() as f64 / rows as f64;
    let row = |bar: usize| {
        let place = order.iter().position(|&placed| placed == bar).unwrap_or(0);
        (order.len() - 1 - place) as f64
    };
    let corners = |&bar: &usize| ((bars[bar].start, row(bar) - half), (bars[bar].end, row(bar) + half));
    let rectangles: Vec<(Point, Point)> = order.iter().map(corners).collect();
    let series = if of == "run" { "position array" } else { "node" };
    let mut chart = chart.series(Series::rectangles(series, rectangles));
    for (number, bar) in order.iter().map(|&number| (number, &bars[number])) {
        // A child starts at the position where it branches off its parent.
        if let Some(parent) = bar.parent {
            let points = vec![(bar.start, row(parent) - half), (bar.start, row(number) + half)];
            chart = chart.series(Series::line("continues elsewhere", points));
        }
        for &cutoff in &bar.cutoffs {
            let points = vec![(cutoff, row(number) - half), (cutoff, row(number) + half)];
            chart = chart.series(Series::line("cutoff: a worker holds the blocks up to here", points).strong());
        }
        chart = chart.label((bar.end, row(number)), &*bar.label);
    }
    chart
}

/// Writes workers as w and their id, with the rank if that is not 0.
fn names(workers: &[(u64, u32)]) -> String {
    let name = |&(id, rank): &(u64, u32)| if rank == 0 { format!("w{id}") } else { format!("w{id}/{rank}") };
    workers.iter().map(name).collect::<Vec<_>>().join(", ")
}

pub(in crate::figures) fn caption(data: &Structure) -> String {
    let depth = |parents: Vec<Option<usize>>| {
        let mut depths: Vec<u64> = Vec::new();
        for parent in parents {
            depths.push(1 + parent.and_then(|parent| depths.get(parent)).copied().unwrap_or(0));
        }
        depths.into_iter().max().unwrap_or(0)
    };
    let hops = depth(data.runs.iter().map(|run| run.parent).collect());
    let steps = depth(data.nodes.iter().map(|node| node.parent).collect());
    let held: u64 = data
        .runs
        .iter()
        .flat_map(|run| &run.holdings)
        .map(|holding| u64::from(holding.cutoff) * holding.workers.len() as u64)
        .sum();
    format!(
        "The content of an index in two forms, after {} and {} from {} with room for {} of {} tokens each. As \
         position arrays it has {}, and the longest path crosses {hops} of them; as a radix tree it has {}, and the \
         longest path crosses {steps}. Both have the same content: {held} blocks held, counted for each worker. \
         Where a chain branches, a new run starts, and where a worker holds less, only its cutoff differs. A node is \
         split in both cases.",
        many(data.requests, "request"),
        many(data.events, "event"),
        many(data.workers.into(), "simulated engine"),
        many(data.blocks_per_worker.into(), "block"),
        data.block_size,
        many(data.runs.len() as u64, "run"),
        many(data.nodes.len() as u64, "node"),
    )
}
