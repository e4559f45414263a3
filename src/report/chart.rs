//! The content of a figure: charts of series over two axes. How they look is in `draw.rs`.

use super::FigureError;
use super::axis::Axis;

/// One or more charts under one title and one legend.
///
/// Series with the same name have the same colour and marker in all charts of a figure, assigned in order of
/// appearance, unless a series has [its own](Series::look). A series without a name is drawn like the first one, and is
/// not in the legend.
#[derive(Clone, Debug)]
pub struct Figure {
    pub(super) title: String,
    pub(super) note: Vec<String>,
    pub(super) columns: usize,
    /// Width of the figure and height of a row of charts, if they are not the defaults.
    pub(super) size: Option<(u32, u32)>,
    pub(super) charts: Vec<Chart>,
}

impl Figure {
    /// A figure without charts.
    #[must_use]
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), note: Vec::new(), columns: 1, size: None, charts: Vec::new() }
    }

    /// Adds a note below the title, in small print.
    #[must_use]
    pub fn note(mut self, line: impl Into<String>) -> Self {
        self.note.push(line.into());
        self
    }

    /// Sets how many charts are side by side. Default 1.
    #[must_use]
    pub fn columns(mut self, columns: usize) -> Self {
        self.columns = columns.max(1);
        self
    }

    /// Sets the width of the figure and the height of a row of charts, in CSS pixels, at least 300 and 160. The default
    /// width is 760 and 560 more for each column after the first; the default height is 440. Text keeps its size.
    #[must_use]
    pub fn size(mut self, width: u32, row: u32) -> Self {
        self.size = Some((width.max(300), row.max(160)));
        self
    }

    /// Adds a chart to the right of the last one, or in a new row if the row is full.
    #[must_use]
    pub fn chart(mut self, chart: Chart) -> Self {
        self.charts.push(chart);
        self
    }

    /// Checks that there is something to draw, and that the axes can show all of it.
    pub(super) fn check(&self) -> Result<(), FigureError> {
        if self.charts.is_empty() {
            return Err(FigureError::Empty { title: self.title.clone() });
        }
        self.charts.iter().try_for_each(Chart::check)
    }

    /// Returns the names of the series, in order of appearance.
    pub(super) fn names(&self) -> Vec<&str> {
        let mut names = Vec::new();
        for series in self.charts.iter().flat_map(|chart| &chart.series) {
            if !series.name.is_empty() && !names.contains(&&*series.name) {
                names.push(&series.name);
            }
        }
        names
    }
}

/// Series over two axes.
#[derive(Clone, Debug)]
pub struct Chart {
    pub(super) title: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) series: Vec<Series>,
    pub(super) identity: Option<String>,
    /// Dashed vertical lines, by their place on x, and their labels.
    pub(super) rules: Vec<(f64, String)>,
    pub(super) labels: Vec<(Point, String)>,
}

impl Chart {
    /// A chart without series. The title may be empty.
    #[must_use]
    pub fn new(title: impl Into<String>, x: Axis, y: Axis) -> Self {
        Self { title: title.into(), x, y, series: Vec::new(), identity: None, rules: Vec::new(), labels: Vec::new() }
    }

    /// Adds a series. Later ones are drawn over earlier ones, strong ones over all.
    #[must_use]
    pub fn series(mut self, series: Series) -> Self {
        self.series.push(series);
        self
    }

    /// Draws the line on which y equals x, dashed, with a label at its upper end.
    #[must_use]
    pub fn identity(mut self, label: impl Into<String>) -> Self {
        self.identity = Some(label.into());
        self
    }

    /// Draws a dashed line at a value of x, with a label at its top.
    #[must_use]
    pub fn vertical(mut self, at: f64, label: impl Into<String>) -> Self {
        self.rules.push((at, label.into()));
        self
    }

    /// Writes a text beside a point: to its right, or to its left if the chart ends there.
    #[must_use]
    pub fn label(mut self, at: Point, text: impl Into<String>) -> Self {
        self.labels.push((at, text.into()));
        self
    }

    /// Returns all values that the x axis must show.
    pub(super) fn xs(&self) -> impl Iterator<Item = f64> {
        let rules = self.rules.iter().map(|(at, _)| *at);
        let labels = self.labels.iter().map(|(at, _)| at.0);
        self.series.iter().flat_map(|series| series.marks.xs()).chain(rules).chain(labels)
    }

    /// Returns all values that the y axis must show.
    pub(super) fn ys(&self) -> impl Iterator<Item = f64> {
        let labels = self.labels.iter().map(|(at, _)| at.1);
        self.series.iter().flat_map(|series| series.marks.ys()).chain(labels)
    }

    fn check(&self) -> Result<(), FigureError> {
        if self.series.iter().all(|series| series.marks.xs().next().is_none()) {
            return Err(FigureError::Empty { title: self.title.clone() });
        }
        let misfit = |axis: &Axis, value| FigureError::Value { title: self.title.clone(), axis: axis.title(), value };
        let bad_x = self.xs().find(|&x| !self.x.takes(x)).map(|x| misfit(&self.x, x));
        let bad_y = self.ys().find(|&y| !self.y.takes(y)).map(|y| misfit(&self.y, y));
        bad_x.or(bad_y).map_or(Ok(()), Err)
    }
}

/// Data of one kind, with a name.
#[derive(Clone, Debug)]
pub struct Series {
    pub(super) name: String,
    pub(super) marks: Marks,
    pub(super) strong: bool,
    /// The number of its colour and marker, if they do not depend on the figure.
    pub(super) look: Option<usize>,
    /// The number of its shade, if it has one instead of a colour.
    pub(super) shade: Option<usize>,
}

/// A point, or a bar's left end, right end and height.
pub type Point = (f64, f64);
pub(super) type Bar = (f64, f64, f64);

/// The marks that show the data.
#[derive(Clone, Debug)]
pub(super) enum Marks {
    Line { points: Vec<Point>, marked: bool },
    Steps(Vec<Point>),
    Rings(Vec<Point>),
    Bars(Vec<Bar>),
    Rectangles(Vec<(Point, Point)>),
}

impl Marks {
    pub(super) fn xs(&self) -> Box<dyn Iterator<Item = f64> + '_> {
        match self {
            Self::Line { points, .. } | Self::Steps(points) | Self::Rings(points) => {
                Box::new(points.iter().map(|point| point.0))
            }
            Self::Bars(bars) => Box::new(bars.iter().flat_map(|bar| [bar.0, bar.1])),
            Self::Rectangles(all) => Box::new(all.iter().flat_map(|(from, to)| [from.0, to.0])),
        }
    }

    fn ys(&self) -> Box<dyn Iterator<Item = f64> + '_> {
        match self {
            Self::Line { points, .. } | Self::Steps(points) | Self::Rings(points) => {
                Box::new(points.iter().map(|point| point.1))
            }
            Self::Bars(bars) => Box::new(bars.iter().map(|bar| bar.2)),
            Self::Rectangles(all) => Box::new(all.iter().flat_map(|(from, to)| [from.1, to.1])),
        }
    }
}

impl Series {
    fn new(name: impl Into<String>, marks: Marks) -> Self {
        Self { name: name.into(), marks, strong: false, look: None, shade: None }
    }

    /// A line through the points in their order. A single point is a marker.
    #[must_use]
    pub fn line(name: impl Into<String>, points: Vec<Point>) -> Self {
        Self::new(name, Marks::Line { points, marked: false })
    }

    /// A line with a marker at every point.
    #[must_use]
    pub fn marked(name: impl Into<String>, points: Vec<Point>) -> Self {
        Self::new(name, Marks::Line { points, marked: true })
    }

    /// Steps: each value of y holds until the next x, as in a cumulative distribution.
    #[must_use]
    pub fn steps(name: impl Into<String>, points: Vec<Point>) -> Self {
        Self::new(name, Marks::Steps(points))
    }

    /// Rings that highlight points of the series with the same name.
    #[must_use]
    pub fn rings(name: impl Into<String>, points: Vec<Point>) -> Self {
        Self::new(name, Marks::Rings(points))
    }

    /// Bars from the axis up, each from `.0` to `.1` and `.2` high; one that is narrower or lower than a line is drawn
    /// like a line, unless its height is 0. In a histogram, they are as wide as its bins; over
    /// an axis of [names](Axis::names), leave a space between the bars around whole numbers.
    #[must_use]
    pub fn bars(name: impl Into<String>, bars: Vec<(f64, f64, f64)>) -> Self {
        Self::new(name, Marks::Bars(bars))
    }

    /// Rectangles between two opposite corners, such as spans of time or cells. One that is narrower than a line is
    /// drawn as wide as a line.
    #[must_use]
    pub fn rectangles(name: impl Into<String>, corners: Vec<(Point, Point)>) -> Self {
        Self::new(name, Marks::Rectangles(corners))
    }

    /// Uses the colour and the marker with this number, so that the series looks the same in every figure, whatever else
    /// is in it. There are ten colours and five markers; further numbers begin again.
    #[must_use]
    pub fn look(mut self, number: usize) -> Self {
        self.look = Some(number);
        self
    }

    /// Uses this shade of the scale instead of a colour.
    pub(super) fn shade(mut self, shade: usize) -> Self {
        self.shade = Some(shade);
        self
    }

    /// Draws the series with a thicker line and larger markers, over all others, because the figure is about it.
    #[must_use]
    pub fn strong(mut self) -> Self {
        self.strong = true;
        self
    }
}
