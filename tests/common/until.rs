//! Waiting for what other processes and threads come to.

use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take that happens in the end.
const DEADLINE: Duration = Duration::from_secs(60);

/// Waits until `done`, and fails if that takes too long. Nobody tells, so it is looked at again and again.
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < DEADLINE, "still not: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
