//! The service is compared with the publishers and cache managers of released engines, which `.ci/engines.py` fetches.
#![cfg(feature = "cli")]

#[path = "../common"]
mod common {
    pub(crate) mod engine;
    #[allow(dead_code, reason = "these tests do not look at what a model holds")]
    pub(crate) mod model;
    pub(crate) mod scratch;
    #[allow(dead_code, reason = "these tests kill no service in the middle of its work")]
    pub(crate) mod serve;
    pub(crate) mod shared;
    pub(crate) mod until;
}

mod caches;
mod publishers;

use std::env;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Returns the directory where `.ci/engines.py` put the engines. If they are absent, prints so and returns `None`.
fn fetched() -> Option<PathBuf> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let cache = env::var_os("KVLEAP_ENGINES").map_or_else(|| home.join("target/engines"), PathBuf::from);
    if cache.join("ready").exists() {
        return Some(cache);
    }
    // Write to stderr directly, because the test harness hides what a passing test prints.
    writeln!(io::stderr(), "SKIPPED: run .ci/engines.py to fetch {}", cache.display()).expect("stderr is open");
    None
}
