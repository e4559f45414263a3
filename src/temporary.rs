//! Files that take their name when they are complete.

use std::io;
use std::path::Path;

use tempfile::{Builder, NamedTempFile};

/// Creates a temporary file in the folder of `path`, to be written and then persisted as `path`.
///
/// It must be the same folder, because only a rename within a file system is atomic: whoever opens `path` finds the
/// old content or the whole new one. Dropped before that, the file is removed.
pub(crate) fn beside(path: &Path) -> io::Result<NamedTempFile> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    let mut builder = Builder::new();
    builder.prefix(&name).suffix(".partial");
    // Temporary files are private by default; this one becomes an ordinary file, with the permissions of one.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    builder.tempfile_in(folder.unwrap_or(Path::new(".")))
}

#[cfg(test)]
mod tests {
    use std::fs;

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
    }
}
