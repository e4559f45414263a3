//! Diagrams: stages from top to bottom, with boxes of text and labelled arrows from one stage to the next.

use plotters::style::text_anchor::{HPos, VPos};

use super::FigureError;
use super::chart::Point;
use super::pen::{Pen, text_style, width};
use super::theme::{BOX_OPACITY, GAP, HEADING, LEADING, MARKER, STROKE, TEXT, Theme, WIDTH};
use super::title::Title;

/// Space around the text of a box, between boxes, beside the label of an arrow, and above and below it.
const PAD: f64 = 10.0;
const BETWEEN: f64 = 24.0;
const BESIDE: f64 = 10.0;
const AROUND: f64 = 12.0;
/// Height of the title of a box.
const TITLE_ROW: f64 = 22.0;

/// A diagram of stages. Its size follows from the text, so nothing overlaps or is cut off.
///
/// ```
/// use kvleap::report::{Diagram, Theme};
///
/// let lines = |text: &[&str]| text.iter().map(|line| line.to_string()).collect::<Vec<String>>();
/// let diagram = Diagram::new("From sender to receiver")
///     .stage([], [("sender".to_owned(), lines(&["one thread"]))])
///     .stage([lines(&["10 messages/s"]), lines(&["20 messages/s"])], [
///         ("first receiver".to_owned(), vec![]),
///         ("second receiver".to_owned(), vec![]),
///     ]);
/// assert!(diagram.svg(Theme::Dark)?.contains("20 messages/s"));
/// # Ok::<(), kvleap::report::FigureError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Diagram {
    title: String,
    note: Vec<String>,
    stages: Vec<Stage>,
}

#[derive(Clone, Debug)]
struct Stage {
    /// The labels of the arrows that lead here, each in lines.
    arrows: Vec<Vec<String>>,
    /// The boxes: titles and lines.
    boxes: Vec<(String, Vec<String>)>,
}

impl Stage {
    fn arrows_height(&self) -> f64 {
        let lines = self.arrows.iter().map(Vec::len).max();
        lines.map_or(0.0, |lines| 2.0 * AROUND + f64::from(lines as u32 * LEADING))
    }

    fn boxes_height(&self) -> f64 {
        let lines = self.boxes.iter().map(|(_, lines)| lines.len()).max().unwrap_or(0);
        2.0 * PAD + TITLE_ROW + f64::from(lines as u32 * LEADING)
    }

    /// Returns the width that boxes and arrows need, side by side.
    fn width(&self) -> f64 {
        let text = |(title, lines): &(String, Vec<String>)| {
            let lines = lines.iter().map(|line| width(line, TEXT, false));
            lines.fold(width(title, HEADING, true), f64::max) + 2.0 * PAD
        };
        let label = |lines: &Vec<String>| lines.iter().map(|line| width(line, TEXT, false)).fold(0.0, f64::max);
        let side_by_side = |each: f64, count: usize| count as f64 * (each + BETWEEN) - BETWEEN;
        // An arrow is in the middle of its share of the width, with the label to its right.
        let arrow = self.arrows.iter().map(label).fold(0.0, f64::max) * 2.0 + 4.0 * BESIDE;
        let boxes = side_by_side(self.boxes.iter().map(text).fold(0.0, f64::max), self.boxes.len());
        boxes.max(side_by_side(arrow, self.arrows.len()))
    }
}

impl Diagram {
    /// A diagram without stages.
    #[must_use]
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), note: Vec::new(), stages: Vec::new() }
    }

    /// Adds a note below the title, in small print.
    #[must_use]
    pub fn note(mut self, line: impl Into<String>) -> Self {
        self.note.push(line.into());
        self
    }

    /// Adds a stage below the last one: the labels of the arrows that lead to it, and the titles and lines of its
    /// boxes. Arrows and boxes each share the width evenly; labels and lines are not wrapped.
    #[must_use]
    pub fn stage(
        mut self,
        arrows: impl IntoIterator<Item = Vec<String>>,
        boxes: impl IntoIterator<Item = (String, Vec<String>)>,
    ) -> Self {
        self.stages.push(Stage { arrows: arrows.into_iter().collect(), boxes: boxes.into_iter().collect() });
        self
    }

    /// Draws the diagram as SVG.
    ///
    /// # Errors
    /// [`FigureError::Empty`] if there is no stage, or one without a box; [`FigureError::Drawing`] if the drawing
    /// library fails.
    pub fn svg(&self, theme: Theme) -> Result<String, FigureError> {
        if self.stages.is_empty() || self.stages.iter().any(|stage| stage.boxes.is_empty()) {
            return Err(FigureError::Empty { title: self.title.clone() });
        }
        let inner = self.stages.iter().map(Stage::width).fold(f64::from(WIDTH - 2 * GAP), f64::max).ceil();
        let head = Title::new(&self.title, &self.note, inner);
        let stages: f64 = self.stages.iter().map(|stage| stage.arrows_height() + stage.boxes_height()).sum();
        let high = (head.bottom() + stages).ceil() as u32 + GAP;
        Pen::svg((inner as u32 + 2 * GAP, high), theme.palette(), |pen| {
            head.draw(pen)?;
            let mut top = head.bottom();
            for (number, stage) in self.stages.iter().enumerate() {
                draw_arrows(pen, stage, top, inner)?;
                top += stage.arrows_height();
                draw_boxes(pen, stage, number, top, inner)?;
                top += stage.boxes_height();
            }
            Ok(())
        })
    }
}

/// Divides the width into `count` shares. Returns the left end and the width of each.
fn shares(count: usize, inner: f64) -> impl Iterator<Item = (f64, f64)> {
    let each = (inner + BETWEEN) / count as f64;
    (0..count).map(move |share| (f64::from(GAP) + share as f64 * each, each - BETWEEN))
}

fn draw_arrows(pen: &Pen<'_>, stage: &Stage, top: f64, inner: f64) -> Result<(), FigureError> {
    let bottom = top + stage.arrows_height();
    let style = text_style(TEXT, false, pen.palette.text, HPos::Left, VPos::Center);
    for (lines, (left, wide)) in stage.arrows.iter().zip(shares(stage.arrows.len(), inner)) {
        let x = left + wide / 2.0;
        let wing = MARKER * 1.2;
        pen.path(&[(x, top), (x, bottom - wing)], pen.palette.muted, STROKE)?;
        pen.polygon(
            &[(x - wing, bottom - 2.0 * wing), (x + wing, bottom - 2.0 * wing), (x, bottom)],
            pen.palette.muted,
        )?;
        let first = f64::midpoint(top, bottom) - (lines.len() as f64 - 1.0) / 2.0 * f64::from(LEADING);
        for (line, text) in lines.iter().enumerate() {
            pen.text(text, &style, (x + BESIDE, first + f64::from(line as u32 * LEADING)))?;
        }
    }
    Ok(())
}

fn draw_boxes(pen: &Pen<'_>, stage: &Stage, number: usize, top: f64, inner: f64) -> Result<(), FigureError> {
    let palette = pen.palette;
    let colour = palette.series[number % palette.series.len()];
    let bottom = top + stage.boxes_height();
    let heading = text_style(HEADING, true, palette.text, HPos::Center, VPos::Center);
    let small = text_style(TEXT, false, palette.text, HPos::Center, VPos::Center);
    for ((title, lines), (left, wide)) in stage.boxes.iter().zip(shares(stage.boxes.len(), inner)) {
        let right = left + wide;
        pen.rectangle((left, top), (right, bottom), colour, BOX_OPACITY)?;
        let corners: [Point; 5] = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)];
        pen.path(&corners, colour, STROKE)?;
        let middle = left + wide / 2.0;
        pen.text(title, &heading, (middle, top + PAD + TITLE_ROW / 2.0))?;
        for (line, text) in lines.iter().enumerate() {
            let y = top + PAD + TITLE_ROW + f64::from(line as u32 * LEADING + LEADING / 2);
            pen.text(text, &small, (middle, y))?;
        }
    }
    Ok(())
}
