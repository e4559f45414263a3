//! The lines of a file, one at a time, with their numbers.

use std::fmt;
use std::io::{BufRead, Read};

use super::MAX_LINE;
use super::error::{Reason, TraceError};
use super::input::{Input, Progress};

/// The lines that are not blank. Holds one at a time. A file without such a line is an error, and an error ends the
/// lines.
pub(crate) struct Lines {
    input: Input,
    line: Vec<u8>,
    number: u64,
    /// Whether there was a line that is not blank.
    found: bool,
    ended: bool,
}

impl Lines {
    pub(crate) fn new(input: Input) -> Self {
        Self { input, line: Vec::new(), number: 0, found: false, ended: false }
    }

    /// Reads the next line, which is then in [`bytes`](Self::bytes). Returns `None` at the end.
    pub(crate) fn advance(&mut self) -> Option<Result<(), TraceError>> {
        if self.ended {
            return None;
        }
        let read = self.read();
        self.ended = !matches!(read, Some(Ok(())));
        read.map(|read| read.map_err(|reason| self.error(None, reason)))
    }

    /// The last line that was read, without its line break.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.line
    }

    /// Its number, from 1; 0 before the first.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn name(&self) -> &str {
        &self.input.name
    }

    pub(crate) fn progress(&self) -> Progress {
        self.input.progress.clone()
    }

    /// Returns an error about the last line that was read.
    pub(crate) fn error(&self, column: Option<usize>, reason: Reason) -> TraceError {
        let line = (!matches!(reason, Reason::Empty)).then_some(self.number);
        TraceError { name: self.input.name.clone(), line, column, reason }
    }

    fn read(&mut self) -> Option<Result<(), Reason>> {
        loop {
            self.line.clear();
            let limit = MAX_LINE as u64 + 1;
            match self.input.bytes.by_ref().take(limit).read_until(b'\n', &mut self.line) {
                Ok(0) if self.found => return None,
                Ok(0) => return Some(Err(Reason::Empty)),
                Ok(_) => self.number += 1,
                Err(error) => {
                    // The number of the line that could not be read completely.
                    self.number += 1;
                    return Some(Err(Reason::of_io(error, self.input.compression)));
                }
            }
            self.line.pop_if(|last| *last == b'\n');
            if self.line.len() > MAX_LINE {
                return Some(Err(Reason::LineTooLong));
            }
            if !self.line.trim_ascii().is_empty() {
                self.found = true;
                return Some(Ok(()));
            }
        }
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines").field("name", &self.input.name).field("line", &self.number).finish_non_exhaustive()
    }
}
