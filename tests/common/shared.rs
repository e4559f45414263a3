//! Test material that is not part of the package.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Returns the path of `name` under `../shared`. If it does not exist, prints so and returns `None`.
pub(crate) fn shared(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared").join(name);
    if path.exists() {
        return Some(path);
    }
    // Write to stderr directly, because the test harness hides what a passing test prints.
    writeln!(io::stderr(), "SKIPPED: {} does not exist", path.display()).expect("stderr is open");
    None
}
