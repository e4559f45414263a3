//! Where a publisher is in its numbered stream.

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

/// Where a publisher is in its numbered stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The sequence number of the batch that is expected next: all before it are in the index, or lost.
    pub next_sequence: u64,
    /// The XXH3-64 of the batch before it, if that one was applied. It tells whether a publisher that is
    /// connected again is the same one, or has restarted and reached the same numbers.
    pub fingerprint: Option<u64>,
}

/// Returns the XXH3-64 of a batch, by which the batch is recognised when it is sent again.
pub(in crate::service) fn fingerprint(payload: &[u8]) -> u64 {
    XxHash3_64::oneshot(payload)
}
