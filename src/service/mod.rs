//! The standalone indexer: engines' events in, answers over HTTP.
//!
//! Each model, tenant and routing group has a [`Model`] with an index of its own. Lookups run on the server's threads,
//! without a channel and without a lock. Events are decoded and handed over on other threads, so that a full mailbox
//! never delays an answer.
//!
//! Modules import only from rows further down in this list:
//!
//! | | |
//! |---|---|
//! | `server` | listens, and shuts down |
//! | `http` | the routes |
//! | `page`, `metrics` | the live page and its figures; figures for Prometheus |
//! | `indexer` | everything but the server |
//! | `config` | settings |
//! | `peers` | copying another instance |
//! | `snapshot` | state in files |
//! | `engines`, `budget` | which engines are listened to; a bound on memory |
//! | `mock_publisher` | a simulated engine behind sockets |
//! | `ingest` | from an engine's messages to events of the index |
//! | `models` | indexes with their publishers |
//! | `publisher` | who sends one numbered stream of events |
//! | `doubt`, `media` | why an answer may not be exact; what engines call their storage |
//! | `tier`, `wire`, `zmtp` | storage tiers; decoding what engines publish; receiving it |
//! | `files`, `log`, `priority` | files that may be open; what is counted of the log; threads that give way |

mod budget;
mod config;
pub mod doubt;
mod engines;
mod files;
mod http;
mod indexer;
pub mod ingest;
mod log;
pub mod media;
mod metrics;
#[cfg(feature = "replay")]
pub mod mock_publisher;
mod models;
mod page;
mod peers;
mod priority;
pub mod publisher;
mod server;
pub mod snapshot;
mod tier;
#[doc(hidden)] // Public only for tests, fuzz targets and benches, which decode batches without an index.
pub mod wire;
mod zmtp;

pub use budget::OverBudget;
pub use config::{
    Access, Config, ConfigError, LogFormat, MIN_TOKEN_BYTES, Role, TlsError, TokenError, TokenFileError,
    check_variables,
};
pub use doubt::{Doubt, Doubts, Exactness};
pub use engines::{Engine, EngineError, Ignored, RegisterError};
pub use files::raise_file_limit;
pub use indexer::{Indexer, StartError};
pub use ingest::{Ingest, Listener};
pub use log::{LOG_COUNTS, LogCounts};
pub use media::{Media, Medium};
pub use metrics::ALERTS;
pub use models::{Key, KeyError, MAX_LOOKAHEAD, Model, ModelError, Models, NameError, NoRoom, Publishers};
pub use peers::PeerError;
pub use publisher::Publisher;
#[doc(hidden)] // Public only for fuzz targets, which send requests without sockets.
pub use server::unserved;
pub use server::{Server, Stopped};
pub use tier::{MAX_RANK, Tier};
