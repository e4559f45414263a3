//! All indexes of the service, and what belongs to each: its publishers, and how much it may take.

mod allowance;
mod key;
mod model;
mod names;
mod publishers;
mod registry;
mod sorted;

pub use key::{Key, KeyError};
pub use model::Model;
pub use names::NameError;
pub(in crate::service) use names::{check_address, check_name};
pub(in crate::service) use publishers::DEFAULT_MAX_WORKERS;
pub use publishers::{MAX_LOOKAHEAD, NoRoom, Publishers};
pub use registry::{ModelError, Models};
