//! Turning requests into a schedule: a simulated fleet serves them, and its events are written down.

mod arrivals;
mod error;
mod fleet;

pub use error::PartitionError;
pub use fleet::Partition;
