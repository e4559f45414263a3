//! Rows from files, one at a time.

use super::Row;
use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{error, fmt};

/// The longest line that is read, in bytes: 16 MiB, room for a prompt of a million blocks.
pub const MAX_LINE: usize = 16 << 20;

/// Opens the trace at `path`, plain or compressed with gzip, whatever its name.
///
/// # Errors
/// [`TraceError`] when the file cannot be opened or its first bytes cannot be read.
pub fn open(path: impl AsRef<Path>) -> Result<Rows, TraceError> {
    let name = path.as_ref().display().to_string();
    let opened = File::open(path).and_then(|file| Ok((file.metadata()?, file)));
    match opened {
        // A pipe has no length.
        Ok((about, file)) => Rows::new(name, file, about.is_file().then_some(about.len())),
        Err(error) => Err(TraceError::of_file(name, Reason::Unreadable(error))),
    }
}

/// The rows of a trace, in order. Blank lines are skipped.
///
/// Holds one line at a time. After a malformed line the next one can still be read; after any other error nothing
/// follows. A trace without a single row is an error.
pub struct Rows {
    name: String,
    lines: Box<dyn BufRead + Send>,
    gzip: bool,
    progress: Progress,
    line: Vec<u8>,
    number: u64,
    /// Whether a line was found that is not blank.
    found: bool,
    ended: bool,
}

impl Rows {
    /// The rows of what `reader` gives, plain or compressed with gzip. Errors call it `name`.
    ///
    /// # Errors
    /// [`TraceError`] when the first bytes cannot be read.
    pub fn from_reader(name: impl Into<String>, reader: impl Read + Send + 'static) -> Result<Self, TraceError> {
        Self::new(name.into(), reader, None)
    }

    fn new(name: String, reader: impl Read + Send + 'static, total: Option<u64>) -> Result<Self, TraceError> {
        let progress = Progress { read: Arc::default(), total };
        let mut reader = Counted { reader, read: Arc::clone(&progress.read) };
        let mut magic = Vec::new();
        if let Err(error) = reader.by_ref().take(2).read_to_end(&mut magic) {
            return Err(TraceError::of_file(name, Reason::Unreadable(error)));
        }
        let gzip = magic == [0x1f, 0x8b];
        let bytes = Cursor::new(magic).chain(reader);
        let lines: Box<dyn BufRead + Send> =
            if gzip { Box::new(BufReader::new(MultiGzDecoder::new(bytes))) } else { Box::new(BufReader::new(bytes)) };
        Ok(Self { name, lines, gzip, progress, line: Vec::new(), number: 0, found: false, ended: false })
    }

    /// How far the reading is: a handle that stays valid, for another thread's progress bar.
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// The number of the line read last, from 1; 0 before the first.
    pub fn line(&self) -> u64 {
        self.number
    }

    /// Reads the next line that is not blank, without its end. `None` at the end of the trace.
    fn read_line(&mut self) -> Option<Result<(), Reason>> {
        loop {
            self.line.clear();
            let limit = MAX_LINE as u64 + 1;
            match self.lines.by_ref().take(limit).read_until(b'\n', &mut self.line) {
                Ok(0) if self.found => return None,
                Ok(0) => return Some(Err(Reason::Empty)),
                Ok(_) => self.number += 1,
                Err(error) => {
                    // The line that could not be read to its end.
                    self.number += 1;
                    return Some(Err(Reason::of_io(error, self.gzip)));
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

impl Iterator for Rows {
    type Item = Result<Row, TraceError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let read = self.read_line();
        self.ended = !matches!(read, Some(Ok(())));
        let (column, reason) = match read? {
            Ok(()) => match serde_json::from_slice(&self.line) {
                Ok(row) => return Some(Ok(row)),
                Err(error) => (Some(error.column()), Reason::of_json(&error)),
            },
            Err(reason) => (None, reason),
        };
        let line = (!matches!(reason, Reason::Empty)).then_some(self.number);
        Some(Err(TraceError { name: self.name.clone(), line, column, reason }))
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").field("name", &self.name).field("line", &self.number).finish_non_exhaustive()
    }
}

/// How far the reading of a trace is. Clones share the count.
#[derive(Clone, Debug)]
pub struct Progress {
    read: Arc<AtomicU64>,
    total: Option<u64>,
}

impl Progress {
    /// Bytes read so far, compressed ones where the trace is compressed.
    pub fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Bytes in all, when [`open`] knew them.
    pub fn total(&self) -> Option<u64> {
        self.total
    }
}

struct Counted<R> {
    reader: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.reader.read(buffer)?;
        // A figure to show; nothing is ordered by it.
        self.read.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(bytes)
    }
}

/// Where and why a trace could not be read. Printed as `file:line:column: reason: what to do`.
#[derive(Debug)]
pub struct TraceError {
    /// The file, or what [`Rows::from_reader`] was told to call it.
    pub name: String,
    /// The line, from 1; `None` when the whole file is meant.
    pub line: Option<u64>,
    /// The byte of the line, from 1, where the line is malformed.
    pub column: Option<usize>,
    /// What is wrong there.
    pub reason: Reason,
}

impl TraceError {
    fn of_file(name: String, reason: Reason) -> Self {
        Self { name, line: None, column: None, reason }
    }
}

/// Why a trace could not be read.
#[derive(Debug)]
#[non_exhaustive]
pub enum Reason {
    /// The operating system says no.
    Unreadable(io::Error),
    /// The compressed data ends early.
    TruncatedGzip,
    /// The compressed data is damaged.
    CorruptGzip(io::Error),
    /// The line is not a row, and why: not JSON, a field missing, negative, out of range.
    Malformed(String),
    /// The line is longer than [`MAX_LINE`].
    LineTooLong,
    /// There is no row at all.
    Empty,
}

impl Reason {
    fn of_io(error: io::Error, gzip: bool) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof if gzip => Self::TruncatedGzip,
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData if gzip => Self::CorruptGzip(error),
            _ => Self::Unreadable(error),
        }
    }

    fn of_json(error: &serde_json::Error) -> Self {
        let text = error.to_string();
        // Its line counts from the row, ours from the file.
        let place = format!(" at line {} column {}", error.line(), error.column());
        Self::Malformed(text.strip_suffix(&place).unwrap_or(&text).to_owned())
    }
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(column) = self.column {
            write!(f, ":{column}")?;
        }
        write!(f, ": {}", self.reason)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => write!(f, "cannot be read ({error}): check the path and its permissions"),
            Self::TruncatedGzip => f.write_str("the gzip data ends early: fetch or compress the file again"),
            Self::CorruptGzip(error) => {
                write!(f, "the gzip data is damaged ({error}): fetch or compress the file again")
            }
            Self::Malformed(why) => write!(
                f,
                "not a row of a trace ({why}): each line must be an object with the integers timestamp, input_length \
                 and output_length, none negative, and the list of integers hash_ids"
            ),
            Self::LineTooLong => write!(
                f,
                "the line is longer than {MAX_LINE} bytes: is this a trace, with one request per line? \
                 If so, use larger trace blocks"
            ),
            Self::Empty => f.write_str("no rows: the file is empty or blank; check the path, or fetch it again"),
        }
    }
}

impl error::Error for TraceError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match &self.reason {
            Reason::Unreadable(error) | Reason::CorruptGzip(error) => Some(error),
            _ => None,
        }
    }
}
