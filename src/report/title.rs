//! What stands above every figure: its title, and notes in small print.

use plotters::style::text_anchor::{HPos, VPos};

use super::FigureError;
use super::pen::{Pen, text_style, wrap};
use super::theme::{GAP, LEADING, TEXT, TITLE};

/// From one line of a title to the next, in sizes of its text.
const TITLE_LEADING: f64 = 1.35;

/// Title and notes, in lines.
pub(super) struct Title {
    title: Vec<String>,
    note: Vec<String>,
}

impl Title {
    /// In lines no longer than `inner`.
    pub(super) fn new(title: &str, note: &[String], inner: f64) -> Self {
        let note = note.iter().flat_map(|line| wrap(line, TEXT, inner)).collect();
        Self { title: wrap(title, TITLE, inner), note }
    }

    /// Where the first note stands.
    fn note_top(&self) -> f64 {
        f64::from(GAP) + self.title.len() as f64 * TITLE * TITLE_LEADING + 2.0
    }

    /// Where what follows may begin.
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
