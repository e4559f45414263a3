//! Bytes from files, decompressed if necessary.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::mem;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::read::MultiGzDecoder;

use super::compression::Compression;
use super::error::{Reason, TraceError};

/// Bytes that are read ahead. The lines of a trace are long.
const BUFFER: usize = 256 << 10;

/// The decompressed content of a file.
pub(crate) struct Input {
    pub(super) name: String,
    pub(super) bytes: Box<dyn BufRead + Send>,
    pub(super) compression: Option<Compression>,
    pub(super) progress: Progress,
}

impl Input {
    /// Opens the file at `path`, or standard input if `path` is `-`.
    pub(crate) fn open(path: &Path) -> Result<Self, TraceError> {
        if path == Path::new("-") {
            return Self::new("stdin".to_owned(), io::stdin(), None);
        }
        let name = path.display().to_string();
        match File::open(path).and_then(|file| Ok((file.metadata()?, file))) {
            // A pipe has no length.
            Ok((about, file)) => Self::new(name, file, about.is_file().then_some(about.len())),
            Err(error) => Err(TraceError::of_file(name, Reason::Unreadable(error))),
        }
    }

    pub(super) fn new(
        name: String,
        reader: impl Read + Send + 'static,
        total: Option<u64>,
    ) -> Result<Self, TraceError> {
        let progress = Progress { read: Arc::default(), total };
        let mut reader = Counted { reader, read: Arc::clone(&progress.read) };
        let mut magic = Vec::new();
        if let Err(error) = reader.by_ref().take(4).read_to_end(&mut magic) {
            return Err(TraceError::of_file(name, Reason::Unreadable(error)));
        }
        let compression = Compression::of(&magic);
        let raw = Cursor::new(magic).chain(reader);
        let bytes: Box<dyn BufRead + Send> = match compression {
            None => Box::new(BufReader::with_capacity(BUFFER, raw)),
            Some(Compression::Gzip) => Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(raw))),
            Some(Compression::Zstd) => {
                let raw = BufReader::with_capacity(BUFFER, raw);
                match zstd::Decoder::with_buffer(raw) {
                    Ok(frames) => Box::new(BufReader::with_capacity(BUFFER, frames)),
                    Err(error) => return Err(TraceError::of_file(name, Reason::of_io(error, compression))),
                }
            }
        };
        Ok(Self { name, bytes, compression, progress })
    }

    /// Reads all of it, for forms that are not lines.
    pub(super) fn read_to_end(mut self) -> Result<(String, Vec<u8>), TraceError> {
        let mut text = Vec::new();
        let read = mem::replace(&mut self.bytes, Box::new(io::empty())).read_to_end(&mut text);
        match read {
            Ok(_) => Ok((self.name, text)),
            Err(error) => Err(TraceError::of_file(self.name, Reason::of_io(error, self.compression))),
        }
    }
}

/// How far the reading of a trace has come. Clones share the count.
#[derive(Clone, Debug)]
pub struct Progress {
    read: Arc<AtomicU64>,
    total: Option<u64>,
}

impl Progress {
    /// Bytes read so far; for a compressed trace, compressed bytes.
    pub fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Bytes in all, if the input is a file.
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
        // Relaxed: the count is only displayed, and no other memory is ordered by it.
        self.read.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(bytes)
    }
}
