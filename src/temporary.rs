//! Files that take their name when they are complete.
//!
//! A file that is dropped before that is removed. Where nothing is dropped, as in a signal handler that ends the process,
//! [`remove_all`] does it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::{Builder, NamedTempFile};

/// The paths of all files of this process that are not complete.
static INCOMPLETE: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn incomplete() -> MutexGuard<'static, Vec<PathBuf>> {
    INCOMPLETE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes all files of this process that are not complete. No other is begun, and none gets its name, until the answer
/// is dropped. Whoever ends the process does so before.
pub fn remove_all() -> Removed {
    let mut paths = incomplete();
    for path in paths.drain(..) {
        // If it cannot be removed, nobody is left to tell.
        let _ = fs::remove_file(path);
    }
    Removed { _paths: paths }
}

/// Keeps files from being begun and from getting their names.
#[derive(Debug)]
#[must_use = "dropped at once, it does not keep other threads from beginning new files"]
pub struct Removed {
    _paths: MutexGuard<'static, Vec<PathBuf>>,
}

/// A file that is not complete yet.
#[derive(Debug)]
pub(crate) struct Incomplete {
    /// `None` once it has its name.
    file: Option<NamedTempFile>,
    path: PathBuf,
}

/// Creates a temporary file in the folder of `path`, to be written and then persisted as `path`.
///
/// It must be the same folder, because only a rename within a file system is atomic: whoever opens `path` finds the
/// old content or the whole new one.
pub(crate) fn beside(path: &Path) -> io::Result<Incomplete> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    let mut builder = Builder::new();
    builder.prefix(&name).suffix(".partial");
    // Temporary files are private by default; this one becomes an ordinary file, with the permissions of one.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut paths = incomplete();
    let file = builder.tempfile_in(folder.unwrap_or(Path::new(".")))?;
    let path = file.path().to_owned();
    paths.push(path.clone());
    Ok(Incomplete { file: Some(file), path })
}

impl Incomplete {
    pub(crate) fn as_file(&self) -> &File {
        self.file.as_ref().expect("it has no name yet").as_file()
    }

    /// Gives the file its name. If that fails, the file is removed.
    pub(crate) fn persist(mut self, path: &Path) -> io::Result<File> {
        let _paths = self.forget();
        let file = self.file.take().expect("it has no name yet");
        file.persist(path).map_err(|failed| failed.error)
    }

    /// Takes the file from those that are removed. It must be complete, or gone, before the lock is.
    fn forget(&self) -> MutexGuard<'static, Vec<PathBuf>> {
        let mut paths = incomplete();
        paths.retain(|path| *path != self.path);
        paths
    }
}

impl Write for Incomplete {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.as_file().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.as_file().flush()
    }
}

impl Drop for Incomplete {
    fn drop(&mut self) {
        if self.file.is_some() {
            let _paths = self.forget();
            self.file = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_persisted_file_is_an_ordinary_one_and_a_dropped_one_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let (plain, atomic) = (folder.path().join("plain"), folder.path().join("atomic"));
        fs::write(&plain, "").expect("a file");
        drop(beside(&atomic).expect("a temporary file"));
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
        beside(&atomic).expect("a temporary file").persist(&atomic).expect("a rename");
        let about = |path| fs::metadata(path).expect("a file").permissions();
        assert_eq!(about(&atomic), about(&plain));
        assert!(!incomplete().iter().any(|path| path.starts_with(folder.path())), "neither is known any more");
    }
}
