//! Bars on stderr; nothing is drawn where that is no terminal.

use indicatif::{ProgressBar, ProgressStyle};
use kvleap::trace::Progress;

/// How much of an input has been read.
pub(super) fn bytes(progress: &Progress) -> ProgressBar {
    let bar = "{bar:40} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left";
    let spinner = "{spinner} {bytes}, {bytes_per_sec}";
    let template = if progress.total().is_some() { bar } else { spinner };
    ProgressBar::new(progress.total().unwrap_or(0)).with_style(style(template))
}

/// How many requests of a number were made.
pub(super) fn requests(total: u64) -> ProgressBar {
    ProgressBar::new(total).with_style(style("{bar:40} {human_pos}/{human_len} requests, {per_sec}, {eta} left"))
}

/// That something is going on.
pub(super) fn spinner(what: &'static str) -> ProgressBar {
    ProgressBar::new_spinner().with_style(style("{spinner} {msg}, {human_pos} rows")).with_message(what)
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is well-formed")
}
