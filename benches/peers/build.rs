//! Tells the program which profile it is built with, so that its reports name the profile.

use std::env;
use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // OUT_DIR is target/<profile>/build/<package>/out. The variable PROFILE does not do: it is only debug or release.
    let out = env::var("OUT_DIR").expect("Cargo sets OUT_DIR");
    let profile = Path::new(&out).ancestors().nth(3).and_then(Path::file_name).expect("OUT_DIR is in a profile folder");
    println!("cargo::rustc-env=BUILD_PROFILE={}", profile.display());
}
