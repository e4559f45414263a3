//! Who serves which request, and what the fleet says while it does: requests to a schedule.

mod arrivals;
mod error;
mod fleet;

pub use error::PartitionError;
pub use fleet::Partition;
