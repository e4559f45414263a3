//! Progress on stderr, where that is a terminal, in one line that never wraps.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Counts what is done of something, for instance requests.
pub(crate) fn counted(what: &str) -> ProgressBar {
    ProgressBar::new(0).with_style(style(&format!("{{human_pos}} of {{human_len}} {what}, {{eta}} left {{wide_bar}}")))
}

/// Says what is being done, and how much of it all is.
pub(crate) fn described(length: u64) -> ProgressBar {
    ProgressBar::new(length).with_style(style("{percent:>3}% {bar:20} {eta} left: {wide_msg}"))
}

/// Says what is being done, for as long as nobody knows how much of it there is.
pub(crate) fn spinner(what: impl Into<String>) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_style(style("{spinner} {wide_msg}")).with_message(what.into());
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// Counts what is done, for as long as nobody knows how much of it there is.
pub(crate) fn counting(what: &'static str) -> ProgressBar {
    ProgressBar::new_spinner().with_style(style("{spinner} {human_pos} {wide_msg}")).with_message(what)
}

/// Counts the bytes read of an input, which has `total` or any number.
pub(crate) fn bytes(total: Option<u64>) -> ProgressBar {
    let template = match total {
        Some(_) => "{bytes} of {total_bytes}, {bytes_per_sec}, {eta} left {wide_bar}",
        None => "{spinner} {bytes}, {bytes_per_sec}",
    };
    ProgressBar::new(total.unwrap_or(0)).with_style(style(template))
}

/// Gives a spinner an end, once it is known: from then on it counts.
pub(crate) fn becomes_counted(bar: &ProgressBar, total: u64) {
    bar.disable_steady_tick();
    bar.set_style(style("{percent:>3}% {bar:20} {eta} left: {wide_msg}"));
    bar.set_length(total);
    bar.reset_eta();
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is well-formed")
}
