//! Rows to files that are renamed into place when complete.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;

use super::ToolError;
use crate::temporary::{self, Incomplete};

/// Writes JSON lines to a file, compressed with gzip if its name ends in `.gz`, or to standard output.
///
/// The lines go to a temporary file in the same folder, which [`finish`](Self::finish) renames into place. If the
/// output is dropped before that, nothing is left. Where nothing is dropped, as in a signal handler that ends the
/// process, [`temporary::remove_all`] does it.
#[derive(Debug)]
pub struct Output {
    path: PathBuf,
    sink: Sink,
}

#[derive(Debug)]
enum Sink {
    Stdout(BufWriter<io::Stdout>),
    Plain(BufWriter<Incomplete>),
    Gzip(Box<GzEncoder<BufWriter<Incomplete>>>),
}

/// Bytes that are written at once.
const BUFFER: usize = 256 << 10;

impl Output {
    /// Starts an output; `-` is standard output. Replaces a file of that name when finished.
    ///
    /// # Errors
    /// [`ToolError::Output`] if the file cannot be created, if something other than a file has the name, or if the name
    /// asks for a compression that cannot be written.
    pub fn create(path: &Path) -> Result<Self, ToolError> {
        if path == Path::new("-") {
            let sink = Sink::Stdout(BufWriter::with_capacity(BUFFER, io::stdout()));
            return Ok(Self { path: "stdout".into(), sink });
        }
        let fail = |source| ToolError::Output { path: path.to_owned(), source };
        let ends_in = |name: &str| path.extension().is_some_and(|extension| extension == name);
        if ends_in("zst") {
            let why = "zstd is read, not written: name it .gz, or pipe it through zstd";
            return Err(fail(io::Error::new(io::ErrorKind::Unsupported, why)));
        }
        if fs::metadata(path).is_ok_and(|present| !present.is_file()) {
            let why = "something other than a file has this name";
            return Err(fail(io::Error::new(io::ErrorKind::AlreadyExists, why)));
        }
        let file = BufWriter::with_capacity(BUFFER, temporary::beside(path).map_err(fail)?);
        let sink = if ends_in("gz") {
            Sink::Gzip(Box::new(GzEncoder::new(file, Compression::fast())))
        } else {
            Sink::Plain(file)
        };
        Ok(Self { path: path.to_owned(), sink })
    }

    /// Writes one line.
    ///
    /// # Errors
    /// [`ToolError::Output`], for instance when the disk is full.
    pub fn write(&mut self, line: &impl Serialize) -> Result<(), ToolError> {
        let sink: &mut dyn Write = match &mut self.sink {
            Sink::Stdout(sink) => sink,
            Sink::Plain(sink) => sink,
            Sink::Gzip(sink) => sink,
        };
        let written = serde_json::to_writer(&mut *sink, line).map_err(io::Error::from);
        let written = written.and_then(|()| sink.write_all(b"\n"));
        written.map_err(|source| ToolError::Output { path: self.path.clone(), source })
    }

    /// Completes the output and renames it into place.
    ///
    /// # Errors
    /// [`ToolError::Output`], for instance when the disk is full; then nothing is left.
    pub fn finish(self) -> Result<(), ToolError> {
        let Self { path, sink } = self;
        complete(&path, sink).map_err(|source| ToolError::Output { path, source })
    }
}

fn complete(path: &Path, sink: Sink) -> io::Result<()> {
    let file = match sink {
        Sink::Stdout(mut sink) => return sink.flush(),
        Sink::Plain(sink) => sink,
        Sink::Gzip(sink) => sink.finish()?,
    };
    file.into_inner()?.persist(path)?;
    Ok(())
}
