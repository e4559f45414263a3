//! Rows from files, one at a time.

use std::io::Read;
use std::path::Path;

use super::error::{Form, Reason, TraceError};
use super::input::{Input, Progress};
use super::lines::Lines;
use super::{Row, plain};

const ROW: Form = Form {
    name: "a row of a trace",
    rule: "each line must be an object with the integers timestamp, input_length and output_length, none negative, \
           and the list of integers hash_ids",
};

/// Opens the trace at `path`, plain or compressed with gzip or zstd, whatever its name; `-` is standard input.
///
/// # Errors
/// [`TraceError`] when the file cannot be opened or its first bytes cannot be read.
pub fn open(path: impl AsRef<Path>) -> Result<Rows, TraceError> {
    Input::open(path.as_ref()).map(Rows::new)
}

/// The rows of a trace, in order. Blank lines are skipped.
///
/// Holds one line at a time. After a malformed line the next one can still be read; after any other error nothing
/// follows. A trace without a single row is an error.
#[derive(Debug)]
pub struct Rows {
    lines: Lines,
}

impl Rows {
    /// The rows of what `reader` gives, plain or compressed with gzip or zstd. Errors call it `name`.
    ///
    /// # Errors
    /// [`TraceError`] when the first bytes cannot be read.
    pub fn from_reader(name: impl Into<String>, reader: impl Read + Send + 'static) -> Result<Self, TraceError> {
        Input::new(name.into(), reader, None).map(Self::new)
    }

    fn new(input: Input) -> Self {
        Self { lines: Lines::new(input) }
    }

    /// Reads the next row into `row`, whose memory is used again: the fast way through a long trace. `None` at the
    /// end. After an error, `row` is any.
    ///
    /// # Errors
    /// As the iterator.
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

    /// How far the reading is: a handle that stays valid, for another thread's progress bar.
    pub fn progress(&self) -> Progress {
        self.lines.progress()
    }

    /// The number of the line read last, from 1; 0 before the first.
    pub fn line(&self) -> u64 {
        self.lines.number()
    }

    /// The name that errors call the trace.
    pub fn name(&self) -> &str {
        self.lines.name()
    }

    /// What is wrong with the row read last.
    pub(crate) fn error(&self, reason: Reason) -> TraceError {
        self.lines.error(None, reason)
    }
}

impl Iterator for Rows {
    type Item = Result<Row, TraceError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut row = Row::default();
        self.read(&mut row).map(|read| read.map(|()| row))
    }
}
