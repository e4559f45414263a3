//! Reading snapshots, if their checksum shows that they are what was written.

use std::fs::File;
use std::hash::Hasher;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Take};
use std::path::{Path, PathBuf};

use twox_hash::XxHash3_64;

use super::error::{Reason, SnapshotError};
use super::format::{Header, Parser, Record, WINDOW_LOG};
use super::limited::Limited;
use super::preamble::{MAGIC, VERSION};

const BEGINNING: u64 = (MAGIC.len() + size_of::<u32>()) as u64;
const CHECKSUM: u64 = size_of::<u64>() as u64;

/// Reads a snapshot, record by record. Needs about 20 MiB in addition to the record.
pub struct Reader<S: Read> {
    name: PathBuf,
    header: Header,
    parser: Parser<BufReader<Limited<Frame<S>>>>,
}

/// What is compressed in a snapshot.
type Frame<S> = zstd::Decoder<'static, BufReader<Take<S>>>;

impl Reader<File> {
    /// Opens a snapshot. It is read from end to end and its checksum is checked before this returns.
    ///
    /// # Errors
    /// The file cannot be read, or is not what was written.
    pub fn open(path: &Path) -> Result<Self, SnapshotError> {
        let file = File::open(path);
        file.map_err(Reason::Unreadable)
            .and_then(|file| Self::checked(path.to_owned(), file, u64::MAX))
            .map_err(|reason| SnapshotError { path: path.to_owned(), reason })
    }
}

impl<S: Read + Seek> Reader<S> {
    /// Like [`Reader::open`], but reads from anything; errors call it `name`.
    ///
    /// # Errors
    /// Like [`Reader::open`].
    pub fn new(name: impl Into<PathBuf>, source: S) -> Result<Self, SnapshotError> {
        Self::limited(name, source, u64::MAX)
    }

    /// Like [`Reader::new`], where the records may take this many bytes at most: a few bytes can be unpacked to many.
    pub(in crate::service) fn limited(name: impl Into<PathBuf>, source: S, limit: u64) -> Result<Self, SnapshotError> {
        let name = name.into();
        Self::checked(name.clone(), source, limit).map_err(|reason| SnapshotError { path: name, reason })
    }

    fn checked(name: PathBuf, mut source: S, limit: u64) -> Result<Self, Reason> {
        let frame = verify(&mut source)?;
        source.seek(SeekFrom::Start(BEGINNING)).map_err(Reason::Unreadable)?;
        let mut frame = zstd::Decoder::new(source.take(frame)).map_err(Reason::Unreadable)?;
        frame.window_log_max(WINDOW_LOG).map_err(Reason::Unreadable)?;
        let (parser, header) = Parser::begin(BufReader::with_capacity(1 << 17, Limited::new(frame, limit)))?;
        Ok(Self { name, header, parser })
    }

    /// Returns what errors call it.
    pub(super) fn name(&self) -> &Path {
        &self.name
    }

    /// Returns what the snapshot says of itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Returns the next record; `None` at the end.
    ///
    /// # Errors
    /// The record cannot be understood, although the checksum is right. Nothing can be read behind it.
    pub fn next_record(&mut self) -> Result<Option<Record>, SnapshotError> {
        self.parser.next().map_err(|reason| SnapshotError { path: self.name.clone(), reason })
    }
}

impl<S: Read> std::fmt::Debug for Reader<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("name", &self.name).field("header", &self.header).finish_non_exhaustive()
    }
}

/// Checks magic, version and checksum. Returns how many bytes the compressed frame has.
fn verify(source: &mut (impl Read + Seek)) -> Result<u64, Reason> {
    let length = source.seek(SeekFrom::End(0)).map_err(Reason::Unreadable)?;
    source.rewind().map_err(Reason::Unreadable)?;
    let mut beginning = Vec::new();
    source.take(BEGINNING).read_to_end(&mut beginning).map_err(Reason::Unreadable)?;
    // The version comes before the checksum, which another version may have elsewhere.
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
