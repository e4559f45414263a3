//! Tells the program which profile it is built with, so that its reports can name it.

use std::env;
use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // target/PROFILE/build/PACKAGE/out; the variable PROFILE only knows debug and release.
    let out = env::var("OUT_DIR").expect("Cargo sets it");
    let profile = Path::new(&out).ancestors().nth(3).and_then(Path::file_name).expect("a folder for each profile");
    println!("cargo::rustc-env=BUILD_PROFILE={}", profile.display());
}
