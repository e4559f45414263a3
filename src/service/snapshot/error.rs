//! Why a snapshot was not written or not read.

use std::io;
use std::path::PathBuf;

use super::preamble::VERSION;

/// Why a snapshot was not written or not read. Printed as `file: reason: what to do`.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}", path = .path.display())]
pub struct SnapshotError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    #[source]
    pub reason: Reason,
}

/// What is wrong with a snapshot.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// The file cannot be read.
    #[error("the snapshot cannot be read ({0}): check the path and its permissions")]
    Unreadable(#[source] io::Error),
    /// The file cannot be written; the previous one is still there.
    #[error("the snapshot cannot be written ({0}): check the directory, its permissions and the space left")]
    Unwritable(#[source] io::Error),
    /// There is a directory, a pipe or a device of this name.
    #[error("no file, but a directory or something else: give the name of a file for the snapshot")]
    NotAFile,
    /// Another process writes to the file.
    #[error("{0} writes its snapshots there: give every process a file of its own")]
    InUse(String),
    /// The file that processes lock cannot be created or opened.
    #[error("{path} cannot be opened ({error}), which shows whose snapshot this is: check it", path = .0.display(), error = .1)]
    Lock(PathBuf, #[source] io::Error),
    /// The file is something else.
    #[error("not a snapshot of kvleap: give the file that the service wrote, or another name")]
    NotASnapshot,
    /// The file is of another version.
    #[error("{}", version(*.0))]
    Version(u32),
    /// The file is shorter than the shortest snapshot.
    #[error("the snapshot is cut off: start without it, or restore a copy")]
    Truncated,
    /// The checksum shows that the file is cut off or altered.
    #[error("the snapshot is cut off or altered (checksum): start without it, or restore a copy")]
    Checksum,
    /// The checksum is right, but a record cannot be understood.
    #[error("record {record} of the snapshot makes no sense ({why}): start without it")]
    Malformed {
        /// The number of the record, from 0.
        record: u64,
        /// What does not fit.
        why: String,
    },
    /// The index does not accept what is in the snapshot.
    #[error(
        "{what} cannot be restored ({why}): raise the limits to those it was written under, or start without the \
         snapshot"
    )]
    Refused {
        /// What was to be restored.
        what: String,
        /// Why it was not.
        why: String,
    },
    /// An index was shut down before it was saved.
    #[error("an index was shut down before it was saved: the previous file is kept")]
    Closed,
}

fn version(found: u32) -> String {
    if found > VERSION {
        format!(
            "a snapshot of version {found}, newer than {VERSION}, the latest that is read: start the release that \
             wrote it, or start without a snapshot"
        )
    } else {
        format!("a snapshot of version {found}, where version {VERSION} is read: start without a snapshot")
    }
}
