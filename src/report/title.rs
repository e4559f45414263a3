//! The title of a figure, with notes in small print below it.

use plotters::style::text_anchor::{HPos, VPos};

use super::FigureError;
use super::pen::{Pen, text_style, wrap};
use super::theme::{GAP, LEADING, TEXT, TITLE};

/// Height of a line of the title, in multiples of the text size.
const TITLE_LEADING: f64 = 1.35;

/// Title and notes, broken into lines.
pub(super) struct Title {
    title: Vec<String>,
    note: Vec<String>,
}

impl Title {
    /// Breaks title and notes into lines that are not wider than `inner`.
    pub(super) fn new(title: &str, note: &[String], inner: f64) -> Self {
        let note = note.iter().flat_map(|line| wrap(line, TEXT, inner)).collect();
        Self { title: wrap(title, TITLE, inner), note }
    }

    /// Returns the top of the first note.
    fn note_top(&self) -> f64 {
        f64::from(GAP) + self.title.len() as f64 * TITLE * TITLE_LEADING + 2.0
    }

    /// Returns the top of what follows.
    pub(super) fn bottom(&self) -> f64 {
        let notes = f64::from(self.note.len() as u32 * LEADING);
        self.note_top() + notes + if self.note.is_empty() { 0.0 } else { 8.0 }
    }

    pub(super) fn draw(&self, pen: &Pen<'_>) -> Result<(), FigureError> {
        let gap = f64::from(GAP);
        let heading = text_style(TITLE, true, pen.palette.text, HPos::Left, VPos::Top);
        for (line, text) in self.title.iter().enumerate() {
            pen.text(text, &heading, (gap, gap + line as f64 * TITLE * TITLE_LEADING))?;
        }
        let small = text_style(TEXT, false, pen.palette.muted, HPos::Left, VPos::Top);
        for (line, text) in self.note.iter().enumerate() {
            pen.text(text, &small, (gap, self.note_top() + f64::from(line as u32 * LEADING)))?;
        }
        Ok(())
    }
}
