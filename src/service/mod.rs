//! The standalone indexer: engines' events in, answers over HTTP.
//!
//! One [`Model`] for each model, tenant and routing group has an index of its own. Lookups run on the server's threads,
//! without a channel and without a lock; events are decoded and handed over on threads of their own, so that a full
//! mailbox never holds up an answer.

mod model;
pub mod snapshot;
mod tier;

pub use model::{Key, Model, ModelError, Models};
pub use tier::{MAX_RANK, Tier};
