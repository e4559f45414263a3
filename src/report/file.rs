//! Files that are renamed into place when complete.

use std::io::{self, Write};
use std::path::Path;

use crate::temporary;

/// Writes `bytes` to a temporary file in the same folder and renames it to `path`. A file of that name is replaced
/// only by the whole new content, and is left as it is if anything fails.
///
/// # Errors
/// What the system reports: no such folder, no permission to write, a full disk, a folder of that name.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = temporary::beside(path)?;
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
}
