//! Measures what BENCHMARKS.md claims about this index alone, and prints a line per claim, with the figure and the bar.
//!
//! With `--test`, the measurements are small and get no verdict, because such short times mean nothing.
#![allow(clippy::print_stdout, reason = "the figures are for a terminal")]

#[path = "../common/mod.rs"]
mod common;

mod growth;
mod publishing;
mod registered;

use std::process::ExitCode;

/// The size of the measurements.
#[derive(Clone, Copy, PartialEq)]
enum Scale {
    Full,
    Test,
}

impl Scale {
    fn pick<T>(self, full: T, test: T) -> T {
        match self {
            Self::Full => full,
            Self::Test => test,
        }
    }

    fn report(self, claim: &str, figure: f64, bar: f64, unit: &str) {
        let verdict = match self {
            Self::Full if figure <= bar => "holds",
            Self::Full => "missed",
            Self::Test => "not judged",
        };
        println!("{claim}: {figure:.2}{unit}, bar {bar}{unit}: {verdict}");
    }
}

fn main() -> ExitCode {
    let scale = if std::env::args().any(|argument| argument == "--test") { Scale::Test } else { Scale::Full };
    common::pinned::run(|| {
        registered::measure(scale);
        publishing::measure(scale);
        growth::measure(scale);
    })
}
