//! Reading not more than was agreed.

use std::io::{self, Read};

/// Reads up to a limit, and fails beyond it.
pub(in crate::service) struct Limited<R> {
    inner: R,
    left: u64,
    limit: u64,
}

impl<R: Read> Limited<R> {
    /// Reads `limit` bytes at most.
    pub(in crate::service) fn new(inner: R, limit: u64) -> Self {
        Self { inner, left: limit, limit }
    }
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        let left = self.left.checked_sub(read as u64);
        self.left = left.ok_or_else(|| io::Error::other(format!("it is longer than {} bytes", self.limit)))?;
        Ok(read)
    }
}
