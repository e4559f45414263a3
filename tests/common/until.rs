//! Waiting for other processes and threads.

use std::thread;
use std::time::{Duration, Instant};

/// How long a test waits before it fails.
const DEADLINE: Duration = Duration::from_secs(60);

/// Polls until `done` returns true, and fails if that takes too long. `what` is the condition in words.
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < DEADLINE, "timed out waiting until {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
