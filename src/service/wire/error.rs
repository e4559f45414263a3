//! Why bytes are not a batch.

/// Why bytes are not a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The value at this position continues beyond the end of the input.
    #[error("the msgpack value at byte {at} continues beyond the end; send the batch whole")]
    Truncated {
        /// The position in bytes.
        at: usize,
    },
    /// The value at this position is of another kind than expected.
    #[error("expected {expected} at byte {at}")]
    Expected {
        /// The position in bytes.
        at: usize,
        /// What was expected.
        expected: &'static str,
    },
}
