//! The standalone indexer: engines' events in, answers over HTTP.
//!
//! One [`Model`] for each model, tenant and routing group has an index of its own. Lookups run on the server's threads,
//! without a channel and without a lock; events are decoded and handed over on threads of their own, so that a full
//! mailbox never holds up an answer.

pub mod ingest;
mod model;
pub mod rank;
mod tier;
pub mod wire;

pub use ingest::{Ingest, Listener};
pub use model::{Key, Model, ModelError, Models};
pub use rank::Rank;
pub use tier::{MAX_RANK, Tier};
