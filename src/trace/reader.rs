//! The rows of a trace, one at a time, as they are written or checked.

use std::io::Read;
use std::path::Path;

use super::check::Check;
use super::error::{Form, Reason, TraceError};
use super::fitting::FittingSizes;
use super::input::{Input, Progress};
use super::lines::Lines;
use super::{Row, plain};

const ROW: Form = Form {
    name: "a row of a trace",
    rule: "each line must be an object with the integers timestamp, input_length and output_length, none negative, \
           and the list of integers hash_ids",
};

/// Opens the trace at `path`, whose ids stand for `block_size` tokens each, as every tool does: as
/// [checked](Rows::checked) [rows](Rows::open).
///
/// # Errors
/// [`TraceError`] if the file cannot be opened, if its first bytes cannot be read, or if `block_size` is 0.
pub fn open(path: impl AsRef<Path>, block_size: u32) -> Result<CheckedRows, TraceError> {
    Rows::open(path)?.checked(block_size)
}

/// The rows of a trace as they are written, in order. Blank lines are skipped.
///
/// Holds one line at a time. After a malformed line the next one can still be read; any other error ends the rows. A
/// trace without a row is an error.
#[derive(Debug)]
pub struct Rows {
    lines: Lines,
}

impl Rows {
    /// Opens the trace at `path`, plain or compressed with gzip or zstd, whatever its name; `-` is standard input.
    ///
    /// # Errors
    /// [`TraceError`] if the file cannot be opened or its first bytes cannot be read.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, TraceError> {
        Input::open(path.as_ref()).map(Self::new)
    }

    /// Reads rows from `reader`, plain or compressed with gzip or zstd. Errors call the trace `name`.
    ///
    /// # Errors
    /// [`TraceError`] if the first bytes cannot be read.
    pub fn from_reader(name: impl Into<String>, reader: impl Read + Send + 'static) -> Result<Self, TraceError> {
        Input::new(name.into(), reader, None).map(Self::new)
    }

    fn new(input: Input) -> Self {
        Self { lines: Lines::new(input) }
    }

    /// Checks all rows that are not read yet, with ids that stand for `block_size` tokens each.
    ///
    /// # Errors
    /// [`TraceError`] with [`Reason::NoBlockSize`] if `block_size` is 0.
    pub fn checked(self, block_size: u32) -> Result<CheckedRows, TraceError> {
        if block_size == 0 {
            return Err(TraceError::of_file(self.name().to_owned(), Reason::NoBlockSize));
        }
        Ok(CheckedRows { rows: self, check: Check::new(block_size), ended: false })
    }

    /// Reads the next row into `row`, whose memory is reused: the fast way through a long trace. Returns `None` at the
    /// end.
    ///
    /// # Errors
    /// As for the iterator. The content of `row` is then unspecified.
    pub fn read(&mut self, row: &mut Row) -> Option<Result<(), TraceError>> {
        if let Err(error) = self.lines.advance()? {
            return Some(Err(error));
        }
        if plain::read(self.lines.bytes(), row) {
            return Some(Ok(()));
        }
        let read = serde_json::from_slice(self.lines.bytes()).map(|read| *row = read);
        Some(read.map_err(|error| self.lines.error(Some(error.column()), Reason::of_json(&error, ROW))))
    }

    /// Returns a handle to how far the reading has come, for the progress bar of another thread.
    pub fn progress(&self) -> Progress {
        self.lines.progress()
    }

    /// Number of the last line that was read, from 1; 0 before the first.
    pub fn line(&self) -> u64 {
        self.lines.number()
    }

    /// Name of the trace, as errors call it.
    pub fn name(&self) -> &str {
        self.lines.name()
    }
}

impl Iterator for Rows {
    type Item = Result<Row, TraceError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut row = Row::default();
        self.read(&mut row).map(|read| read.map(|()| row))
    }
}

/// The rows of a trace, each of which fits the block size and the rows before it: rows are in the order of their times,
/// every full block has an id, a partial last block has one either in all rows or in none, and nothing else has one.
///
/// Any error ends the rows.
#[derive(Debug)]
pub struct CheckedRows {
    rows: Rows,
    check: Check,
    ended: bool,
}

/// Rows that are read after one that does not fit, to find out which block size would.
const AHEAD: usize = 1000;

impl CheckedRows {
    /// Reads the next row into `row`, whose memory is reused: the fast way through a long trace. Returns `None` at the
    /// end.
    ///
    /// # Errors
    /// As for the iterator. The content of `row` is then unspecified.
    pub fn read(&mut self, row: &mut Row) -> Option<Result<(), TraceError>> {
        if self.ended {
            return None;
        }
        let read = self.rows.read(row)?.and_then(|()| {
            let line = self.line();
            self.check.row(row).map_err(|mut reason| {
                if let Reason::WrongBlockSize { fitting, .. } = &mut reason {
                    self.look_ahead(fitting, row);
                }
                TraceError { line: Some(line), ..self.error(reason) }
            })
        });
        self.ended = read.is_err();
        Some(read)
    }

    /// Narrows the block sizes by the next rows, so that they name the right one with more certainty than the first row
    /// that does not fit.
    fn look_ahead(&mut self, fitting: &mut FittingSizes, row: &mut Row) {
        for _ in 0..AHEAD {
            match self.rows.read(row) {
                Some(Ok(())) if !fitting.is_empty() => fitting.narrow(row.input_length, row.hash_ids.len()),
                _ => return,
            }
        }
    }

    /// Tokens that an id stands for.
    pub fn block_size(&self) -> u32 {
        self.check.block_size()
    }

    /// Returns a handle to how far the reading has come, for the progress bar of another thread.
    pub fn progress(&self) -> Progress {
        self.rows.progress()
    }

    /// Number of the last line that was read, from 1; 0 before the first.
    pub fn line(&self) -> u64 {
        self.rows.line()
    }

    /// Name of the trace, as errors call it.
    pub fn name(&self) -> &str {
        self.rows.name()
    }

    /// Returns an error about the last row that was read.
    pub(crate) fn error(&self, reason: Reason) -> TraceError {
        self.rows.lines.error(None, reason)
    }
}

impl Iterator for CheckedRows {
    type Item = Result<Row, TraceError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut row = Row::default();
        self.read(&mut row).map(|read| read.map(|()| row))
    }
}
