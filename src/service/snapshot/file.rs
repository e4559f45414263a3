//! Snapshots in files: complete or not there, and read only if the checksum says that they are what was written.

use std::fs::{self, File};
use std::hash::Hasher;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Take, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use twox_hash::XxHash3_64;

use super::error::{Reason, SnapshotError};
use super::format::{Header, MAGIC, Parser, Record, Records, SavedModel, SavedPublisher, VERSION};
use crate::Event;

/// Of zstd: the fastest that finds columns that workers share.
const LEVEL: i32 = 1;
/// How far back it looks for them, as a power of two. Both sides need as much memory.
const WINDOW_LOG: u32 = 24;

const BEGINNING: u64 = (MAGIC.len() + size_of::<u32>()) as u64;
const CHECKSUM: u64 = size_of::<u64>() as u64;

/// Writes a snapshot, record by record. Needs about 30 MiB, however much is written.
pub struct Writer<W: Write> {
    /// What errors call it.
    name: PathBuf,
    records: Records<zstd::Encoder<'static, Summing<W>>>,
}

impl<W: Write> Writer<W> {
    /// A snapshot that nothing is in yet; errors call it `name`.
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
            // A clock before 1970 is no reason to lose a snapshot.
            let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
            Records::begin(frame, &Header { created, release: env!("CARGO_PKG_VERSION").to_owned() })
        };
        let records = begin().map_err(unwritable(&name))?;
        Ok(Self { name, records })
    }

    /// What errors call it.
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

    /// Begins a rank of that index.
    ///
    /// # Errors
    /// [`Reason::Unwritable`].
    pub fn publisher(&mut self, publisher: &SavedPublisher) -> Result<(), SnapshotError> {
        self.records.publisher(publisher).map_err(unwritable(&self.name))
    }

    /// Adds an event of that rank. One of more than 65,536 blocks comes back as several, each stored after the one
    /// before.
    ///
    /// # Errors
    /// [`Reason::Unwritable`].
    pub fn event(&mut self, event: &Event) -> Result<(), SnapshotError> {
        self.records.event(event).map_err(unwritable(&self.name))
    }

    /// Completes the snapshot, and gives back what it was written to.
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
    /// A snapshot in a file, which replaces the one of before when it is [finished](Self::finish), and until then is a
    /// file of its own, with `.partial` after the name.
    ///
    /// # Errors
    /// [`Reason::Unwritable`].
    pub fn create(path: &Path) -> Result<Self, SnapshotError> {
        let file = Replacement::create(path).map_err(unwritable(path))?;
        Self::new(path, file)
    }

    /// Completes the file, puts it in the place of the one before, and waits until both are on the disk. Returns its
    /// length in bytes.
    ///
    /// # Errors
    /// [`Reason::Unwritable`]; the file of before is still there.
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

/// `path` with something behind the name.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// A file that is to take the place of another, and is removed unless it does.
#[derive(Debug)]
pub struct Replacement {
    partial: PathBuf,
    file: BufWriter<File>,
    placed: bool,
}

impl Replacement {
    fn create(path: &Path) -> io::Result<Self> {
        let partial = with_suffix(path, ".partial");
        let file = BufWriter::new(File::create(&partial)?);
        Ok(Self { partial, file, placed: false })
    }

    fn replace(mut self, path: &Path) -> io::Result<u64> {
        self.file.flush()?;
        let file = self.file.get_ref();
        file.sync_all()?;
        fs::rename(&self.partial, path)?;
        self.placed = true;
        // The name is on the disk when its directory is.
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?;
        self.file.get_ref().metadata().map(|data| data.len())
    }
}

impl Write for Replacement {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        if !self.placed {
            // It is not worth more than an attempt: what failed before is the error to report.
            let _ = fs::remove_file(&self.partial);
        }
    }
}

/// Sums up what passes.
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

/// Reads a snapshot, record by record. Needs about 20 MiB beside what a record has.
pub struct Reader<S: Read> {
    name: PathBuf,
    header: Header,
    parser: Parser<BufReader<zstd::Decoder<'static, BufReader<Take<S>>>>>,
}

impl Reader<File> {
    /// Opens a snapshot. It is read once from end to end before anything is taken from it.
    ///
    /// # Errors
    /// It cannot be read, or is not what was written.
    pub fn open(path: &Path) -> Result<Self, SnapshotError> {
        let file = File::open(path);
        file.map_err(Reason::Unreadable)
            .and_then(|file| Self::checked(path.to_owned(), file))
            .map_err(|reason| SnapshotError { path: path.to_owned(), reason })
    }
}

impl<S: Read + Seek> Reader<S> {
    /// Like [`Reader::open`], of anything; errors call it `name`.
    ///
    /// # Errors
    /// Like [`Reader::open`].
    pub fn new(name: impl Into<PathBuf>, source: S) -> Result<Self, SnapshotError> {
        let name = name.into();
        Self::checked(name.clone(), source).map_err(|reason| SnapshotError { path: name, reason })
    }

    fn checked(name: PathBuf, mut source: S) -> Result<Self, Reason> {
        let frame = verify(&mut source)?;
        source.seek(SeekFrom::Start(BEGINNING)).map_err(Reason::Unreadable)?;
        let mut frame = zstd::Decoder::new(source.take(frame)).map_err(Reason::Unreadable)?;
        frame.window_log_max(WINDOW_LOG).map_err(Reason::Unreadable)?;
        let (parser, header) = Parser::begin(BufReader::with_capacity(1 << 17, frame))?;
        Ok(Self { name, header, parser })
    }

    /// What errors call it.
    pub(super) fn name(&self) -> &Path {
        &self.name
    }

    /// What the snapshot says of itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The next record; `None` at the end.
    ///
    /// # Errors
    /// The checksum is right, and yet the record makes no sense. So does nothing that follows.
    pub fn next_record(&mut self) -> Result<Option<Record>, SnapshotError> {
        self.parser.next().map_err(|reason| SnapshotError { path: self.name.clone(), reason })
    }
}

impl<S: Read> std::fmt::Debug for Reader<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("name", &self.name).field("header", &self.header).finish_non_exhaustive()
    }
}

/// Compares what is there with what it should be. Returns how many bytes the frame has.
fn verify(source: &mut (impl Read + Seek)) -> Result<u64, Reason> {
    let length = source.seek(SeekFrom::End(0)).map_err(Reason::Unreadable)?;
    source.rewind().map_err(Reason::Unreadable)?;
    let mut beginning = Vec::new();
    source.take(BEGINNING).read_to_end(&mut beginning).map_err(Reason::Unreadable)?;
    // Another version may have its checksum elsewhere: what is to be said of it comes first.
    match beginning.strip_prefix(&MAGIC).map(<[u8; 4]>::try_from) {
        None => return Err(Reason::NotASnapshot),
        Some(Err(_)) => return Err(Reason::Truncated),
        Some(Ok(version)) => match u32::from_le_bytes(version) {
            VERSION => {}
            other => return Err(Reason::Version(other)),
        },
    }
    let frame = length.checked_sub(BEGINNING + CHECKSUM).ok_or(Reason::Truncated)?;
    let mut sum = XxHash3_64::new();
    sum.write(&beginning);
    let mut left = frame;
    let mut buffer = vec![0; 1 << 16];
    while left > 0 {
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        match source.read(&mut buffer[..most]) {
            Ok(0) => return Err(Reason::Truncated),
            Ok(read) => {
                sum.write(&buffer[..read]);
                left -= read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Reason::Unreadable(error)),
        }
    }
    let mut expected = [0; CHECKSUM as usize];
    source.read_exact(&mut expected).map_err(Reason::Unreadable)?;
    if u64::from_le_bytes(expected) == sum.finish() { Ok(frame) } else { Err(Reason::Checksum) }
}
