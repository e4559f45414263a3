//! The file of the snapshots, which one process writes at a time.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process;

use super::error::{Reason, SnapshotError};
use super::preamble::MAGIC;

/// How many refused snapshots are kept. Beyond that, the oldest one is removed.
const KEPT: usize = 4;

/// How many symbolic links are followed from the name that was given to the file, as many as Linux follows.
const LINKS: usize = 40;

/// The file of the snapshots, and the lock that keeps other processes from writing it.
#[derive(Debug)]
pub(super) struct Claim {
    path: PathBuf,
    /// `None` where the file system has no locks. Two processes then replace each other's files, which are whole.
    lock: Option<File>,
}

/// Checks that snapshots can be written to `path`: that it is a snapshot, empty or not there, and that a file can be
/// created beside it. Returns it without symbolic links.
pub(in crate::service) fn check(path: &Path) -> Result<PathBuf, SnapshotError> {
    let of = |reason| SnapshotError { path: path.to_owned(), reason };
    let file = resolved(path).map_err(|error| of(Reason::Unreadable(error)))?;
    match fs::symlink_metadata(&file) {
        Ok(about) if !about.is_file() => return Err(of(Reason::NotAFile)),
        Ok(_) => {
            // The service would put another file aside, so it must not be one of the user's.
            let mut beginning = Vec::new();
            let read = File::open(&file).and_then(|file| file.take(MAGIC.len() as u64).read_to_end(&mut beginning));
            read.map_err(|error| of(Reason::Unreadable(error)))?;
            if !MAGIC.starts_with(&beginning) {
                return Err(of(Reason::NotASnapshot));
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(of(Reason::Unreadable(error))),
    }
    if file.file_name().is_none() || file.to_string_lossy().ends_with('/') {
        return Err(of(Reason::NotAFile));
    }
    // Permissions are more than their bits, so this tries.
    tempfile::tempfile_in(folder(&file)).map_err(|error| of(Reason::Unwritable(error)))?;
    Ok(file)
}

impl Claim {
    /// Takes the file for this process, and removes what a crash left beside it.
    ///
    /// # Errors
    /// No snapshot can be written there, or another process has taken the file.
    pub(super) fn take(path: &Path) -> Result<Self, SnapshotError> {
        let path = check(path)?;
        let lock = lock(&path).map_err(|reason| SnapshotError { path: path.clone(), reason })?;
        let claim = Self { path, lock };
        // Only the process with the lock writes such files, so a process that was killed left these.
        for (left, _) in claim.beside(".").into_iter().filter(|(_, rest)| is_partial(rest)) {
            let removed = fs::remove_file(folder(&claim.path).join(&left));
            tracing::info!(file = left, removed = removed.is_ok(), "an earlier process was killed while it saved");
        }
        Ok(claim)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the file up, so that another process can take it.
    pub(super) fn release(&self) {
        if let Some(lock) = &self.lock {
            // Closing the file would unlock it as well, but requests may keep this for a moment longer.
            let _ = lock.unlock();
        }
    }

    /// Puts the file aside, under a name of its own. Returns the name.
    pub(super) fn put_aside(&self) -> io::Result<PathBuf> {
        let before = self.beside(".refused.").into_iter();
        let mut refused: Vec<(u64, String)> =
            before.filter_map(|(name, number)| Some((number.parse().ok()?, name))).collect();
        refused.sort_unstable();
        let last = refused.last().map_or(0, |&(number, _)| number);
        let next =
            last.checked_add(1).ok_or_else(|| io::Error::other("the numbers of refused snapshots are used up"))?;
        let aside = with_suffix(&self.path, &format!(".refused.{next}"));
        fs::rename(&self.path, &aside)?;
        refused.truncate((refused.len() + 1).saturating_sub(KEPT));
        for (_, oldest) in refused {
            let removed = fs::remove_file(folder(&self.path).join(&oldest));
            tracing::warn!(file = oldest, removed = removed.is_ok(), "too many refused snapshots: the oldest one goes");
        }
        Ok(aside)
    }

    /// Returns the names of files in the same folder that begin with the name of the snapshot and `suffix`, each with
    /// the rest of its name.
    fn beside(&self, suffix: &str) -> Vec<(String, String)> {
        let begins = format!("{}{suffix}", self.path.file_name().unwrap_or_default().to_string_lossy());
        let entries = fs::read_dir(folder(&self.path)).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter_map(|name| name.strip_prefix(&begins).map(str::to_owned).map(|rest| (name, rest))).collect()
    }
}

/// Whether a file is a snapshot that this release or an earlier one did not complete, given the rest of its name behind
/// that of the snapshot and a dot. Other snapshots in the folder may have names that begin alike.
fn is_partial(rest: &str) -> bool {
    let random = |part: &str| part.len() == 6 && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    rest == "partial" || rest.strip_suffix(".partial").is_some_and(random)
}

/// Locks the file beside `path` whose name ends in `.lock`, and writes into it which process has the lock. The file
/// stays: if it were removed, one process could lock the old file and another one a new file.
fn lock(path: &Path) -> Result<Option<File>, Reason> {
    let beside = with_suffix(path, ".lock");
    let mut file = open_lock(&beside).map_err(|error| Reason::Lock(beside.clone(), error))?;
    match file.try_lock() {
        Ok(()) => {
            // Only people read who has the lock, so failing to write it is no reason to stop.
            let _ = file.set_len(0).and_then(|()| writeln!(file, "process {}", process::id()));
            Ok(Some(file))
        }
        Err(TryLockError::WouldBlock) => {
            let mut by = String::new();
            let _ = file.take(100).read_to_string(&mut by);
            let by = by.trim();
            Err(Reason::InUse(if by.is_empty() { "another process" } else { by }.to_owned()))
        }
        Err(TryLockError::Error(error)) => {
            tracing::warn!(%error, file = %beside.display(), "the file system has no locks: see to it yourself that \
                 no other process writes this snapshot");
            Ok(None)
        }
    }
}

/// Opens a lock file, and follows no symbolic link: it could lead to somebody's file, which would be overwritten.
fn open_lock(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    match options.clone().create_new(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        created => return created,
    }
    let is_file = |path| fs::symlink_metadata(path).map(|about| about.is_file());
    let no_file = || io::Error::other("something else has this name");
    if !is_file(path)? {
        return Err(no_file());
    }
    let file = options.open(path)?;
    // Somebody may have put a link there meanwhile.
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let (opened, named) = (file.metadata()?, fs::symlink_metadata(path)?);
        if (opened.dev(), opened.ino()) != (named.dev(), named.ino()) {
            return Err(no_file());
        }
    }
    Ok(file)
}

/// Follows symbolic links from `path` to a file, which need not be there. So a snapshot replaces what a link leads to,
/// and the link stays.
fn resolved(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        match fs::read_link(&path) {
            Ok(target) => path = folder(&path).join(target),
            // It is not there, or no link.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput) => {
                return Ok(path);
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("too many symbolic links"))
}

pub(super) fn folder(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Returns `path` with a suffix behind the name.
fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
