//! The standalone indexer: engines' events in, answers over HTTP.
//!
//! One [`Model`] for each model, tenant and routing group has an index of its own. Lookups run on the server's threads,
//! without a channel and without a lock; events are decoded and handed over on threads of their own, so that a full
//! mailbox never holds up an answer.

mod auth;
mod budget;
mod config;
pub mod doubt;
mod engine;
mod engines;
mod http;
mod indexer;
pub mod ingest;
pub mod media;
mod model;
mod page;
mod peers;
mod periodic;
mod prometheus;
#[cfg(feature = "replay")]
pub mod publish;
pub mod publisher;
mod publishers;
mod request_metrics;
mod server;
pub mod snapshot;
mod tier;
mod tls;
pub mod wire;

pub use auth::{Access, MIN_TOKEN_BYTES, Role, TokenError, TokenFileError};
pub use budget::OverBudget;
pub use config::{Config, ConfigError, LogFormat};
pub use doubt::{Doubt, Doubts, Exactness};
pub use engine::Engine;
pub use engines::RegisterError;
pub use indexer::Indexer;
pub use ingest::{Ingest, Listener};
pub use media::{Media, Medium};
pub use model::{Key, KeyError, Model, ModelError, Models};
pub use peers::PeerError;
pub use publisher::Publisher;
pub use publishers::{MAX_LOOKAHEAD, Publishers};
pub use server::{Server, StartError};
pub use tier::{MAX_RANK, Tier};
pub use tls::TlsError;
