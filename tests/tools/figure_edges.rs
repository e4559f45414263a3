//! Pictures at the edges of their data: with data at the ends of the axes and beyond, with one point, with none, with
//! equal values and with values that cannot be shown. Whatever is in the data is found in the picture, within its panel,
//! or the picture says that it is not there.

use kvleap::report::{Axis, Chart, Figure, FigureError, Point, Series, Shades, Theme, Unit};

use crate::common::svg::{Mark, marks, panels, rectangles, texts};

/// The first colour that is assigned.
const FIRST: &str = "#D55E00";

/// A way to draw points, whose marks have this opacity if they are rectangles.
type Kind = (&'static str, fn(Vec<Point>) -> Series);

const KINDS: [Kind; 6] = [
    ("line", |points| Series::line("", points)),
    ("marked", |points| Series::marked("", points)),
    ("steps", |points| Series::steps("", points)),
    ("rings", |points| Series::rings("", points)),
    ("bars", |points| Series::bars("", points.into_iter().map(|(x, y)| (x - 0.1, x + 0.1, y)).collect())),
    ("rectangles", |points| Series::rectangles("", points.into_iter().map(|point| (point, point)).collect())),
];

fn linear() -> Axis {
    Axis::linear("x", Unit::Of(String::new()))
}

fn log() -> Axis {
    Axis::log("x", Unit::Of(String::new()))
}

fn draw(x: Axis, y: Axis, series: Series) -> Result<String, FigureError> {
    Figure::new("").chart(Chart::new("", x, y).series(series)).svg(Theme::Light)
}

/// Returns the boxes of everything that shows data: marks of the first colour, and rectangles behind the background.
fn shown(svg: &str) -> Vec<[f64; 4]> {
    let lines = marks(svg).into_iter().filter(|(colour, _)| colour == FIRST).map(|(_, around): Mark| around);
    let bars = ["0.85", "1"].into_iter().flat_map(|opacity| rectangles(svg, opacity));
    let bars = bars.filter(|&(x, y, ..)| x > 0.0 || y > 0.0);
    lines.chain(bars.map(|(x, y, wide, high)| [x, y, x + wide, y + high])).collect()
}

fn assert_within_panel(svg: &str, what: &str) {
    let [panel] = panels(svg)[..] else { panic!("{what}: one panel: {:?}", panels(svg)) };
    let shown = shown(svg);
    assert!(!shown.is_empty(), "{what}: nothing is shown");
    for mark in shown {
        let inside = mark[0] >= panel[0] - 0.2 && mark[2] <= panel[2] + 1.2;
        assert!(inside && mark[1] >= panel[1] - 1.2 && mark[3] <= panel[3] + 1.2, "{what}: {mark:?} leaves {panel:?}");
    }
}

#[test]
fn every_point_is_within_the_panel_whatever_the_values() {
    let sets: [(&str, Vec<Point>); 7] = [
        ("one point", vec![(3.0, 7.0)]),
        ("equal points", vec![(3.0, 7.0); 3]),
        ("equal heights", vec![(1.0, 1.35), (2.0, 1.35), (3.0, 1.35)]),
        ("a wide range", vec![(1.0, 1e-9), (1e6, 1e9)]),
        ("large and near", vec![(1e12, 1e12), (1e12 + 1.0, 1e12 + 1.0)]),
        ("hardly apart", vec![(1.0, 1.0), (1.0 + 1e-12, 1.0 + 1e-12)]),
        ("many", (1..200).map(|at| (f64::from(at), f64::from(at * at % 97 + 1))).collect()),
    ];
    for (what, points) in sets {
        for (kind, series) in KINDS {
            for (scale, axis) in [("linear", linear as fn() -> Axis), ("log", log)] {
                let svg = draw(axis(), axis(), series(points.clone()));
                let svg = svg.unwrap_or_else(|error| panic!("{what}, {kind}, {scale}: {error}"));
                assert_within_panel(&svg, &format!("{what}, {kind}, {scale}"));
                let labels = texts(&svg).0.iter().filter(|(text, _)| text != "x").count();
                assert!(labels >= 4, "{what}, {kind}, {scale}: two labels on each axis, not {labels} in all");
            }
        }
    }
}

#[test]
fn every_datum_has_its_mark() {
    let points: Vec<Point> = vec![(0.0, 5.0), (1.0, 0.001), (2.0, -3.0), (3.0, 1000.0)];
    for (kind, series) in KINDS {
        let svg = draw(linear(), linear(), series(points.clone())).expect("good data");
        let expected = match kind {
            "line" | "steps" => 1,
            "marked" => 1 + points.len(),
            _ => points.len(),
        };
        assert_eq!(shown(&svg).len(), expected, "{kind}");
    }
    // However little a bar stands for, it can be seen, and it stands for nothing if it cannot.
    let heights = |height| {
        let svg = draw(linear(), linear(), Series::bars("", vec![(0.0, 1.0, 1e6), (1.0, 2.0, height)])).expect("good");
        rectangles(&svg, "0.85").last().expect("a bar").3
    };
    assert!(heights(1.0) >= 1.0 && heights(-1.0) >= 1.0 && heights(0.0) < 0.1);
}

#[test]
fn an_end_of_the_axis_is_an_end_of_the_panel() {
    let part = || linear().covering(2.0, 5.0).tight();
    let svg = draw(part(), linear(), Series::rectangles("", vec![((2.0, 0.0), (5.0, 1.0))])).expect("good data");
    let ([panel], [whole]) = (&panels(&svg)[..], &shown(&svg)[..]) else { panic!("one panel and one rectangle") };
    assert!((whole[0] - panel[0]).abs() <= 0.2 && (whole[2] - panel[2]).abs() <= 0.2, "{whole:?} in {panel:?}");
}

#[test]
fn what_cannot_be_shown_is_refused_whatever_it_is() {
    for (kind, series) in KINDS {
        let none = draw(linear(), linear(), series(Vec::new()));
        assert!(matches!(none, Err(FigureError::Empty { .. })), "{kind}: nothing");
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            for point in [(bad, 1.0), (1.0, bad)] {
                let refused = draw(linear(), linear(), series(vec![(1.0, 1.0), point, (2.0, 2.0)]));
                assert!(matches!(refused, Err(FigureError::Value { .. })), "{kind}: {point:?}");
            }
        }
        for point in [(0.0, 1.0), (1.0, -1.0)] {
            let refused = draw(log(), log(), series(vec![(1.0, 1.0), point]));
            assert!(matches!(refused, Err(FigureError::Value { .. })), "{kind}: {point:?} on logarithmic axes");
        }
    }
    let chart = || Chart::new("", linear(), linear()).series(Series::line("", vec![(1.0, 1.0), (2.0, 2.0)]));
    for chart in [chart().vertical(f64::NAN, "a rule"), chart().label((1.0, f64::INFINITY), "a label")] {
        assert!(matches!(Figure::new("").chart(chart).svg(Theme::Light), Err(FigureError::Value { .. })));
    }
}

#[test]
fn cells_at_the_corners_of_a_heat_map_are_drawn_and_equal_counts_share_a_shade() {
    let cell = |x: f64, y: f64, value| ((x, y), (x + 1.0, y + 1.0), value);
    let corners = [cell(0.0, 0.0, 1.0), cell(9.0, 0.0, 5.0), cell(0.0, 9.0, 5.0), cell(9.0, 9.0, 5.0)];
    for (most, cells) in [(5.0, &corners[..]), (1.0, &corners[..1]), (5.0, &corners[1..])] {
        let series = Shades::up_to(most, "blocks").series(cells.iter().copied());
        let classes = series.len();
        let axis = || linear().covering(0.0, 10.0);
        let chart = series.into_iter().fold(Chart::new("", axis(), axis()), Chart::series);
        let svg = Figure::new("").chart(chart).svg(Theme::Light).expect("good data");
        let drawn = rectangles(&svg, "1").len() - 1;
        assert_eq!(drawn, cells.len() + if classes > 1 { classes } else { 0 }, "cells, and samples in a legend");
    }
}
