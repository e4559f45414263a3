//! kvleap: a global index of the key-value blocks that a fleet of LLM workers caches.

pub mod event;
pub mod hash;
pub mod index;

#[cfg(feature = "baseline")]
pub mod baseline;
#[cfg(feature = "replay")]
pub mod replay;
#[cfg(feature = "trace")]
pub mod trace;

pub use event::{Block, Event, EventData, Worker};
pub use hash::{BlockHasher, Prompt};
pub use index::{Builder, Closed, ConfigError, Index, Matches, Rejection, SendError, TrySendError};
