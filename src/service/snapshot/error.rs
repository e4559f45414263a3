//! Why a snapshot was not written or not read.

use std::path::PathBuf;
use std::{error, fmt, io};

use super::format::VERSION;

/// Why a snapshot was not written or not read. Printed as `file: reason: what to do`.
#[derive(Debug)]
pub struct SnapshotError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub reason: Reason,
}

/// Why a snapshot was not written or not read.
#[derive(Debug)]
#[non_exhaustive]
pub enum Reason {
    /// The operating system does not let it be read.
    Unreadable(io::Error),
    /// The operating system does not let it be written; what was there before still is.
    Unwritable(io::Error),
    /// The file is something else.
    NotASnapshot,
    /// The file is of another version.
    Version(u32),
    /// The file is shorter than the shortest snapshot.
    Truncated,
    /// The checksum says that the file is cut off or altered.
    Checksum,
    /// The checksum is right, and yet what it covers makes no sense.
    Malformed {
        /// Which record, from 0.
        record: u64,
        /// What does not fit.
        why: String,
    },
    /// The index does not take what the snapshot says.
    Refused {
        /// What was to be restored.
        what: String,
        /// Why it was not.
        why: String,
    },
    /// An index was shut down while it was to be read out.
    Closed,
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.reason)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => {
                write!(f, "the snapshot cannot be read ({error}): check the path and its permissions")
            }
            Self::Unwritable(error) => write!(
                f,
                "the snapshot cannot be written ({error}): check the directory, its permissions and the space left"
            ),
            Self::NotASnapshot => f.write_str("not a snapshot of kvleap: give the file that the service wrote"),
            Self::Version(found) if *found > VERSION => write!(
                f,
                "a snapshot of version {found}, newer than {VERSION}, the latest that is read: start the release that \
                 wrote it, or start without a snapshot"
            ),
            Self::Version(found) => {
                write!(f, "a snapshot of version {found}, where version {VERSION} is read: start without a snapshot")
            }
            Self::Truncated => f.write_str("the snapshot is cut off: start without it, or restore a copy"),
            Self::Checksum => {
                f.write_str("the snapshot is cut off or altered (checksum): start without it, or restore a copy")
            }
            Self::Malformed { record, why } => {
                write!(f, "record {record} of the snapshot makes no sense ({why}): start without it")
            }
            Self::Refused { what, why } => write!(
                f,
                "{what} cannot be restored ({why}): raise the limits to those it was written under, or start without \
                 the snapshot"
            ),
            Self::Closed => f.write_str("an index was shut down before it was saved: the file of before is kept"),
        }
    }
}

impl error::Error for SnapshotError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match &self.reason {
            Reason::Unreadable(source) | Reason::Unwritable(source) => Some(source),
            _ => None,
        }
    }
}
