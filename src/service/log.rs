//! What becomes of log lines, for the metrics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counts log lines. Whoever sets up the log of a process counts here, so that `/metrics` can say what is missing.
#[derive(Debug, Default)]
pub struct LogCounts {
    written: AtomicU64,
    lost: AtomicU64,
    left_out: AtomicU64,
}

/// The counts of this process, which has one log.
pub static LOG_COUNTS: LogCounts =
    LogCounts { written: AtomicU64::new(0), lost: AtomicU64::new(0), left_out: AtomicU64::new(0) };

impl LogCounts {
    /// Counts a line that was written.
    pub fn add_written(&self) {
        self.written.fetch_add(1, Relaxed);
    }

    /// Counts a line that could not be written.
    pub fn add_lost(&self) {
        self.lost.fetch_add(1, Relaxed);
    }

    /// Counts a line that was left out because there were many like it.
    pub fn add_left_out(&self) {
        self.left_out.fetch_add(1, Relaxed);
    }

    /// Returns how many lines were written.
    pub fn written(&self) -> u64 {
        self.written.load(Relaxed)
    }

    /// Returns how many lines could not be written.
    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }

    /// Returns how many lines were left out because there were many like them.
    pub fn left_out(&self) -> u64 {
        self.left_out.load(Relaxed)
    }
}
