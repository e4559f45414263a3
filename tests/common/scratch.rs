//! Scratch directories for tests that write files.
#![allow(dead_code, reason = "every test binary uses its own part")]

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::{env, fs, process};

/// A directory that belongs to one test and is removed when it is dropped.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    /// Creates a directory that no other test has. The name only helps people who find it after a crash.
    pub(crate) fn new(test: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Relaxed);
        let path = env::temp_dir().join(format!("kvleap-{}-{number}-{test}", process::id()));
        fs::create_dir_all(&path).expect("a directory for scratch files");
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("a path in UTF-8").to_owned()
    }

    /// Writes a file with this content, and returns its path.
    pub(crate) fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::write(&path, bytes).expect("a scratch file");
        path
    }

    /// Does the same as [`Scratch::file`], and returns a `PathBuf`.
    pub(crate) fn file_path(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        self.file(name, bytes).into()
    }

    /// Returns the names of the files in the directory, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).expect("the scratch directory");
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect();
        names.sort();
        names
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
