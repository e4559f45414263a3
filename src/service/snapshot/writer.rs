//! Writing snapshots: to any sink, or to a file that replaces the previous one when it is complete.

use std::fs::File;
use std::hash::Hasher;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use twox_hash::XxHash3_64;

use super::claim::folder;
use super::error::{Reason, SnapshotError};
use super::format::{Header, Records, SavedModel, SavedPublisher, WINDOW_LOG};
use super::preamble::{MAGIC, VERSION};
use crate::event::Event;
use crate::temporary::{self, Incomplete};

/// The compression level of zstd: the fastest that finds columns of hashes which workers share.
const LEVEL: i32 = 1;

/// Writes a snapshot, record by record. Needs about 30 MiB, however much is written.
pub struct Writer<W: Write> {
    /// What errors call it.
    name: PathBuf,
    records: Records<zstd::Encoder<'static, Summing<W>>>,
}

impl<W: Write> Writer<W> {
    /// Begins a snapshot; errors call it `name`.
    ///
    /// # Errors
    /// [`Reason::Unwritable`].
    pub fn new(name: impl Into<PathBuf>, sink: W) -> Result<Self, SnapshotError> {
        let name = name.into();
        let begin = || {
            let mut sink = Summing { inner: sink, sum: XxHash3_64::new() };
            sink.write_all(&MAGIC)?;
            sink.write_all(&VERSION.to_le_bytes())?;
            let mut frame = zstd::Encoder::new(sink, LEVEL)?;
            frame.long_distance_matching(true)?;
            frame.window_log(WINDOW_LOG)?;
            // A clock before 1970 is no reason to fail.
            let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
            Records::begin(frame, &Header { created, release: env!("CARGO_PKG_VERSION").to_owned() })
        };
        let records = begin().map_err(unwritable(&name))?;
        Ok(Self { name, records })
    }

    /// Returns what errors call it.
    pub(super) fn name(&self) -> &Path {
        &self.name
    }

    /// Begins an index.
    ///
    /// # Errors
    /// [`Reason::Unwritable`].
    pub fn model(&mut self, model: &SavedModel) -> Result<(), SnapshotError> {
        self.records.model(model).map_err(unwritable(&self.name))
    }

    /// Begins a publisher of that index.
    ///
    /// # Errors
    /// [`Reason::Unwritable`].
    pub fn publisher(&mut self, publisher: &SavedPublisher) -> Result<(), SnapshotError> {
        self.records.publisher(publisher).map_err(unwritable(&self.name))
    }

    /// Adds an event of that publisher. An event of more than 65,536 blocks is read back as several, each stored after
    /// the one before.
    ///
    /// # Errors
    /// [`Reason::Unwritable`].
    pub fn event(&mut self, event: &Event) -> Result<(), SnapshotError> {
        self.records.event(event).map_err(unwritable(&self.name))
    }

    /// Completes the snapshot, and returns what it was written to.
    ///
    /// # Errors
    /// [`Reason::Unwritable`].
    pub fn end(self) -> Result<W, SnapshotError> {
        let Self { name, records } = self;
        let end = || {
            let Summing { mut inner, sum } = records.end()?.finish()?;
            inner.write_all(&sum.finish().to_le_bytes())?;
            Ok(inner)
        };
        end().map_err(unwritable(&name))
    }
}

impl Writer<Replacement> {
    /// Begins a snapshot in a file. It has a random name beside `path`, and replaces the previous one when it is
    /// [finished](Self::finish).
    ///
    /// # Errors
    /// [`Reason::Unwritable`].
    pub fn create(path: &Path) -> Result<Self, SnapshotError> {
        // A fixed name could be a link to somebody's file, or that of a file that another process writes.
        let file = temporary::beside(path).map_err(unwritable(path))?;
        Self::new(path, Replacement(BufWriter::new(file)))
    }

    /// Completes the file, gives it its final name, and waits until file and name are on the disk. Returns its length
    /// in bytes.
    ///
    /// # Errors
    /// [`Reason::Unwritable`]; the previous file is still there.
    pub fn finish(self) -> Result<u64, SnapshotError> {
        let path = self.name.clone();
        self.end()?.replace(&path).map_err(unwritable(&path))
    }
}

impl<W: Write> std::fmt::Debug for Writer<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("name", &self.name).finish_non_exhaustive()
    }
}

fn unwritable(path: &Path) -> impl Fn(io::Error) -> SnapshotError {
    |source| SnapshotError { path: path.to_owned(), reason: Reason::Unwritable(source) }
}

/// A file that replaces another one when it is complete. Dropped before that, it is removed.
#[derive(Debug)]
pub struct Replacement(BufWriter<Incomplete>);

impl Replacement {
    /// Gives the file its final name. Returns its length.
    fn replace(self, path: &Path) -> io::Result<u64> {
        let file = self.0.into_inner()?;
        // The content has to be on the disk before the name is: a crash in between must not leave the name of a
        // complete file on one that is not.
        file.as_file().sync_all()?;
        let file = file.persist(path)?;
        // The name is on the disk when its directory is.
        File::open(folder(path))?.sync_all()?;
        file.metadata().map(|data| data.len())
    }
}

impl Write for Replacement {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Computes the checksum of what is written through it.
struct Summing<W> {
    inner: W,
    sum: XxHash3_64,
}

impl<W: Write> Write for Summing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.sum.write(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
