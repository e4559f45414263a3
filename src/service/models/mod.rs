//! All indexes of the service, and what belongs to each: its publishers, and how much it may take.

mod allowance;
mod key;
mod model;
mod publishers;
mod registry;

pub use key::{Key, KeyError};
pub use model::Model;
pub use publishers::{MAX_LOOKAHEAD, Publishers};
pub use registry::{ModelError, Models};
