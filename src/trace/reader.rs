//! The rows of a trace, one at a time.

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
/// [`TraceError`] if the file cannot be opened or its first bytes cannot be read.
pub fn open(path: impl AsRef<Path>) -> Result<Rows, TraceError> {
    Input::open(path.as_ref()).map(Rows::new)
}

/// The rows of a trace, in order. Blank lines are skipped.
///
/// Holds one line at a time. After a malformed line the next one can still be read; any other error ends the rows. A
/// trace without a row is an error.
#[derive(Debug)]
pub struct Rows {
    lines: Lines,
}

impl Rows {
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

    /// Returns an error about the last row that was read.
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
