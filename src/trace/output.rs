//! Rows to files that are complete or not there.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;

use super::ToolError;

/// Writes JSON lines to a file, compressed with gzip if its name ends in `.gz`, or to standard output.
///
/// A file is written under its name with `.partial` appended and given its name by [`finish`](Self::finish). Dropped
/// before that, nothing is left.
#[derive(Debug)]
pub struct Output {
    path: PathBuf,
    /// Where it is written until then; `None` on standard output, and once it has its name.
    partial: Option<PathBuf>,
    sink: Sink,
}

#[derive(Debug)]
enum Sink {
    Stdout(BufWriter<io::Stdout>),
    Plain(BufWriter<File>),
    Gzip(Box<GzEncoder<BufWriter<File>>>),
}

/// Bytes that are written at once.
const BUFFER: usize = 256 << 10;

impl Output {
    /// Starts an output; `-` is standard output. Replaces a file of that name when finished.
    ///
    /// # Errors
    /// [`ToolError::Output`] where the file cannot be created, something other than a file has the name, or the name
    /// asks for a compression that cannot be written.
    pub fn create(path: &Path) -> Result<Self, ToolError> {
        if path == Path::new("-") {
            let sink = Sink::Stdout(BufWriter::with_capacity(BUFFER, io::stdout()));
            return Ok(Self { path: "stdout".into(), partial: None, sink });
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
        let partial = partial(path);
        let file = BufWriter::with_capacity(BUFFER, File::create(&partial).map_err(fail)?);
        let sink = if ends_in("gz") {
            Sink::Gzip(Box::new(GzEncoder::new(file, Compression::fast())))
        } else {
            Sink::Plain(file)
        };
        Ok(Self { path: path.to_owned(), partial: Some(partial), sink })
    }

    /// The file that stands in until the output is finished, for who must remove it when the process is told to end.
    pub fn partial(&self) -> Option<&Path> {
        self.partial.as_deref()
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
        written.and_then(|()| sink.write_all(b"\n")).map_err(|source| self.failed(source))
    }

    /// Completes the output and gives it its name.
    ///
    /// # Errors
    /// [`ToolError::Output`], for instance when the disk is full; then nothing is left.
    pub fn finish(mut self) -> Result<(), ToolError> {
        self.complete().map_err(|source| self.failed(source))
    }

    fn complete(&mut self) -> io::Result<()> {
        match &mut self.sink {
            Sink::Stdout(sink) => sink.flush()?,
            Sink::Plain(sink) => sink.flush()?,
            Sink::Gzip(sink) => {
                sink.try_finish()?;
                sink.get_mut().flush()?;
            }
        }
        if let Some(partial) = &self.partial {
            fs::rename(partial, &self.path)?;
        }
        self.partial = None;
        Ok(())
    }

    fn failed(&self, source: io::Error) -> ToolError {
        ToolError::Output { path: self.path.clone(), source }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some(partial) = &self.partial {
            // It is not worth more than an attempt: the reason for being here is the error to report.
            let _ = fs::remove_file(partial);
        }
    }
}

fn partial(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".partial");
    name.into()
}
