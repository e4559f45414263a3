//! Files that are complete or not there.

use std::io;
use std::path::{Path, PathBuf};
use std::{fs, process};

/// Writes `bytes` under a temporary name in the same folder, and renames. What had the name before is replaced at once,
/// and stays where it is if anything fails.
///
/// # Errors
/// As the system says: no such folder, no right to write, a full disk, a folder of that name.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(format!(".{}.partial", process::id()));
    let partial = PathBuf::from(partial);
    let written = fs::write(&partial, bytes).and_then(|()| fs::rename(&partial, path));
    if written.is_err() {
        // The error to report is the one at hand.
        let _ = fs::remove_file(&partial);
    }
    written
}
