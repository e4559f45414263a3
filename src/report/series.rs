//! Drawing a series: its colour, its marker and its data.

use super::FigureError;
use super::chart::{Marks, Point, Series};
use super::pen::Pen;
use super::theme::{BAR_OPACITY, Colour, GRID, MARKER, Palette, RING, STROKE, STRONG, STRONG_MARKER};

/// Corners of the markers around the middle, in half widths; y points down. No corners mean a circle.
const MARKERS: [&[Point]; 5] = [
    &[],
    &[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
    &[(0.0, -1.2), (1.15, 0.85), (-1.15, 0.85)],
    &[(0.0, -1.3), (1.3, 0.0), (0.0, 1.3), (-1.3, 0.0)],
    &[(0.0, 1.2), (1.15, -0.85), (-1.15, -0.85)],
];

/// How a series is recognised.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    number: usize,
    strong: bool,
    shade: Option<usize>,
}

impl Look {
    /// The look of the series with this number in its figure.
    pub(super) fn new(number: usize, series: &Series) -> Self {
        Self { number, strong: series.strong, shade: series.shade }
    }

    fn colour(self, palette: &Palette) -> Colour {
        self.shade.map_or(palette.series[self.number % palette.series.len()], |shade| palette.shades[shade])
    }

    fn width(self) -> f64 {
        if self.strong { STRONG } else { STROKE }
    }

    fn marker(self, pen: &Pen<'_>, (x, y): Point) -> Result<(), FigureError> {
        let half = if self.strong { STRONG_MARKER } else { MARKER };
        let colour = self.colour(pen.palette);
        let corners = MARKERS[self.number % MARKERS.len()];
        if corners.is_empty() {
            return pen.circle((x, y), half, colour);
        }
        let corners: Vec<Point> = corners.iter().map(|&(dx, dy)| (x + dx * half, y + dy * half)).collect();
        pen.polygon(&corners, colour)
    }
}

/// Where the values of a chart are on the canvas.
pub(super) struct Place<'a> {
    pub(super) map: &'a dyn Fn(Point) -> Point,
    /// The value at which bars start.
    pub(super) base: f64,
}

/// Whether a line through these points would not be seen, because they are all in one place.
fn is_point(points: &[Point]) -> bool {
    points.windows(2).all(|pair| pair[0] == pair[1])
}

/// Draws a series into its chart.
pub(super) fn draw_marks(pen: &Pen<'_>, series: &Series, look: Look, place: &Place<'_>) -> Result<(), FigureError> {
    let colour = look.colour(pen.palette);
    let mapped = |points: &[Point]| points.iter().map(|&point| (place.map)(point)).collect::<Vec<Point>>();
    match &series.marks {
        Marks::Line { points, marked } => {
            let points = mapped(points);
            pen.path(&points, colour, look.width())?;
            if *marked || is_point(&points) {
                points.into_iter().try_for_each(|point| look.marker(pen, point))
            } else {
                Ok(())
            }
        }
        Marks::Steps(points) => {
            let corners = points.windows(2).flat_map(|pair| [pair[0], (pair[1].0, pair[0].1)]);
            let corners = mapped(&corners.chain(points.last().copied()).collect::<Vec<Point>>());
            if is_point(&corners) {
                return corners.first().map_or(Ok(()), |&point| look.marker(pen, point));
            }
            pen.path(&corners, colour, look.width())
        }
        Marks::Rings(points) => mapped(points).into_iter().try_for_each(|at| pen.ring(at, RING, colour, STROKE)),
        Marks::Bars(bars) => bars.iter().try_for_each(|&(from, to, height)| {
            let (foot, head) = ((place.map)((from, place.base)), (place.map)((to, height)));
            let (left, top) = (foot.0.min(head.0), foot.1.min(head.1));
            let (right, bottom) = (foot.0.max(head.0).max(left + GRID), foot.1.max(head.1));
            // However little it stands for, it can be seen, unless that is nothing.
            let thick = if (height - place.base).abs() > 0.0 { GRID } else { 0.0 };
            pen.rectangle((left, top.min(bottom - thick)), (right, bottom), colour, BAR_OPACITY)
        }),
        Marks::Rectangles(all) => all.iter().try_for_each(|&(from, to)| {
            let (from, to) = ((place.map)(from), (place.map)(to));
            let top_left = (from.0.min(to.0), from.1.min(to.1));
            let bottom_right = (from.0.max(to.0).max(top_left.0 + GRID), from.1.max(to.1).max(top_left.1 + GRID));
            pen.rectangle(top_left, bottom_right, colour, 1.0)
        }),
    }
}

/// Draws the sample of a series in the legend, between two points of one height.
pub(super) fn draw_sample(
    pen: &Pen<'_>,
    series: &Series,
    look: Look,
    (from, to): (Point, Point),
) -> Result<(), FigureError> {
    let colour = look.colour(pen.palette);
    let middle = (f64::midpoint(from.0, to.0), from.1);
    match series.marks {
        Marks::Line { marked: true, .. } => {
            pen.path(&[from, to], colour, look.width())?;
            look.marker(pen, middle)
        }
        Marks::Line { .. } | Marks::Steps(_) => pen.path(&[from, to], colour, look.width()),
        Marks::Rings(_) => pen.ring(middle, RING * 0.8, colour, STROKE),
        Marks::Bars(_) | Marks::Rectangles(_) => {
            let (top, bottom) = ((middle.0 - 7.0, middle.1 - 7.0), (middle.0 + 7.0, middle.1 + 7.0));
            pen.rectangle(top, bottom, colour, if look.shade.is_some() { 1.0 } else { BAR_OPACITY })
        }
    }
}
