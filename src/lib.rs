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
pub use index::{
    Builder, Closed, ConfigError, ImportError, Index, Layer, LocalReader, LocalWriter, MAX_SHARDS, Matches, Rejection,
    SendError, ShardStatus, Status, TrySendError, Watermark, WorkerStatus,
};
