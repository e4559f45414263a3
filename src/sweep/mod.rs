//! Finding how much load a backend can take: what a fleet would say is worked out once on a virtual clock, as a
//! [`Schedule`] of lookups and events, and then played against one backend after another.

mod partition;
mod schedule;

pub use partition::{Partition, PartitionError};
pub use schedule::{Op, Schedule, What};
