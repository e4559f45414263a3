//! Test material that is not part of the package.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// The path of `name` under `../shared`; where that is absent, says so and is `None`.
pub(crate) fn shared(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared").join(name);
    if path.exists() {
        return Some(path);
    }
    // Past the harness, which shows what a passing test prints to nobody.
    writeln!(io::stderr(), "SKIPPED, for lack of {}", path.display()).expect("stderr is open");
    None
}
