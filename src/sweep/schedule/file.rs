//! Schedules in files.
//!
//! A file is eight bytes of magic, the version as four bytes (little-endian), and one zstd frame with a checksum. The
//! frame contains, in postcard's format, a [`Header`] and as many [`Entry`]s as that says.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Op, Schedule};
use crate::sweep::encoding::{Encoded, put, take};
use crate::temporary;

const MAGIC: [u8; 8] = *b"kvleap\0S";
const VERSION: u32 = 1;
/// The level of zstd: the fastest one that finds repeated prompts.
const LEVEL: i32 = 1;
/// How far back zstd looks, as a power of two: 128 MiB, the most that a decoder accepts by default. Queries repeat, but
/// far apart.
const WINDOW_LOG: u32 = 27;

#[derive(Serialize, Deserialize)]
struct Header {
    block_size: u32,
    workers: u32,
    blocks_per_worker: u64,
    length_ns: u64,
    ops: u64,
}

/// An operation; `H` is a list of hashes.
#[derive(Serialize, Deserialize)]
struct Entry<H> {
    /// Nanoseconds since the operation before.
    after_ns: u64,
    what: Encoded<H>,
}

impl Schedule {
    /// Writes the schedule to `path`. It is written under a temporary name in the same folder, and renamed when it is
    /// complete; only then does it replace a file of that name.
    ///
    /// # Errors
    /// [`ScheduleError::File`], for instance when the disk is full, or when the operations are not in order.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), ScheduleError> {
        let path = path.as_ref();
        self.write_to(path).map_err(|source| ScheduleError::File { path: path.to_owned(), source })
    }

    fn write_to(&self, path: &Path) -> io::Result<()> {
        let mut sink = BufWriter::new(temporary::beside(path)?);
        sink.write_all(&MAGIC)?;
        sink.write_all(&VERSION.to_le_bytes())?;
        let mut frame = zstd::Encoder::new(sink, LEVEL)?;
        frame.include_checksum(true)?;
        frame.long_distance_matching(true)?;
        frame.window_log(WINDOW_LOG)?;
        let Self { block_size, workers, blocks_per_worker, length_ns, ref ops } = *self;
        put(&Header { block_size, workers, blocks_per_worker, length_ns, ops: self.operations() }, &mut frame)?;
        let mut before = 0;
        for op in ops {
            let unsorted =
                || io::Error::new(io::ErrorKind::InvalidInput, "the operations are not in the order of time");
            let after_ns = op.at_ns.checked_sub(before).ok_or_else(unsorted)?;
            put(&Entry { after_ns, what: Encoded::of(&op.what) }, &mut frame)?;
            before = op.at_ns;
        }
        let file = frame.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.as_file().sync_all()?;
        file.persist(path).map(drop)
    }

    /// Reads what [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// [`ScheduleError`]; a file that is damaged or cut off is refused as a whole.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ScheduleError> {
        let path = path.as_ref();
        let unreadable = |source| ScheduleError::File { path: path.to_owned(), source };
        let mut file = BufReader::new(File::open(path).map_err(unreadable)?);
        let mut start = Vec::new();
        file.by_ref().take(12).read_to_end(&mut start).map_err(unreadable)?;
        let version = start.strip_prefix(&MAGIC).and_then(|version| version.try_into().ok());
        match version.map(u32::from_le_bytes) {
            None => return Err(ScheduleError::NotASchedule { path: path.to_owned() }),
            Some(VERSION) => {}
            Some(found) => return Err(ScheduleError::Version { path: path.to_owned(), found }),
        }
        let frame = zstd::Decoder::with_buffer(file).map_err(unreadable)?.single_frame();
        Self::read_from(BufReader::new(frame)).map_err(|why| ScheduleError::Damaged { path: path.to_owned(), why })
    }

    fn read_from(mut frame: BufReader<zstd::Decoder<'_, BufReader<File>>>) -> Result<Self, String> {
        let Header { block_size, workers, blocks_per_worker, length_ns, ops: count } = take(&mut frame)?;
        let mut ops = Vec::new();
        let mut at_ns = 0_u64;
        for _ in 0..count {
            let entry: Entry<Vec<u64>> = take(&mut frame)?;
            at_ns = at_ns.checked_add(entry.after_ns).ok_or("a time is out of range")?;
            ops.push(Op { at_ns, what: entry.what.into() });
        }
        // The decoder verifies the checksum only when it is read to the end.
        let mut more = frame.read(&mut [0]).map_err(|error| error.to_string())?;
        more += frame.into_inner().finish().read(&mut [0]).map_err(|error| error.to_string())?;
        if more > 0 {
            return Err("something follows the last operation".to_owned());
        }
        Ok(Self { block_size, workers, blocks_per_worker, length_ns, ops })
    }
}

/// Why a schedule was not saved or loaded.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ScheduleError {
    /// The operating system refuses.
    #[error("{}: {source}: check the path and its permissions", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is something else.
    #[error("{}: not a schedule: give a file that was saved as one", path.display())]
    NotASchedule {
        /// The file.
        path: PathBuf,
    },
    /// The file is of another version.
    #[error(
        "{}: a schedule of version {found}, and this program reads version {VERSION}: make it again from its trace",
        path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// The file is cut off or damaged.
    #[error("{}: the schedule is cut off or damaged ({why}): make it again from its trace", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        why: String,
    },
}
