//! Events as Dynamo's router has them: the form of `/dump` and of `POST /events`.

use serde::{Deserialize, Serialize};

use super::tier::{MAX_RANK, Tier};
use crate::event::{Block, Event, EventData, Worker};

/// One event of one rank.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouterEvent {
    /// The instance.
    pub worker_id: u64,
    /// Where it happened.
    #[serde(default)]
    pub storage_tier: StorageTier,
    /// What happened.
    pub event: KvEvent,
}

/// A medium.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StorageTier {
    /// The accelerator's memory.
    #[default]
    Device,
    /// The host's memory.
    HostPinned,
    /// A disk.
    Disk,
    /// Storage that no instance owns; not indexed.
    External,
}

/// What happened, with its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvEvent {
    /// The rank's running number.
    pub event_id: u64,
    /// What happened.
    pub data: KvData,
    /// The rank.
    #[serde(default)]
    pub dp_rank: u32,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KvData {
    /// Consecutive blocks are now cached.
    Stored {
        /// The sequence hash of the block before the first.
        parent_hash: Option<u64>,
        /// Not used: a block's place follows from its parent.
        #[serde(default)]
        start_position: Option<u32>,
        /// The blocks in order.
        blocks: Vec<KvBlock>,
    },
    /// Blocks are no longer cached.
    Removed {
        /// Their sequence hashes.
        block_hashes: Vec<u64>,
    },
    /// The cache is empty.
    Cleared,
}

/// A stored block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvBlock {
    /// Its sequence hash.
    pub block_hash: u64,
    /// Its local hash.
    pub tokens_hash: u64,
}

impl From<Tier> for StorageTier {
    fn from(tier: Tier) -> Self {
        match tier {
            Tier::Device => Self::Device,
            Tier::Host => Self::HostPinned,
            Tier::Disk => Self::Disk,
        }
    }
}

impl RouterEvent {
    /// An event of the index; `None` for those that have no such form and leave no blocks behind.
    pub fn of(event: Event) -> Option<Self> {
        let (rank, tier) = Tier::split(event.worker);
        let data = match event.data {
            EventData::Stored { parent, blocks } => {
                let blocks = blocks
                    .into_iter()
                    .map(|Block { sequence, local }| KvBlock { block_hash: sequence, tokens_hash: local });
                KvData::Stored { parent_hash: parent, start_position: None, blocks: blocks.collect() }
            }
            EventData::Removed { blocks } => KvData::Removed { block_hashes: blocks },
            EventData::Cleared | EventData::WorkerAdded | EventData::WorkerRemoved => return None,
        };
        let event = KvEvent { event_id: event.id, data, dp_rank: rank.dp_rank };
        Some(Self { worker_id: rank.id, storage_tier: tier.into(), event })
    }

    /// The event of the index that [`RouterEvent::of`] made this of; `None` if it can be of no index.
    pub fn into_event(self) -> Option<Event> {
        let tier = match self.storage_tier {
            StorageTier::Device => Tier::Device,
            StorageTier::HostPinned => Tier::Host,
            StorageTier::Disk => Tier::Disk,
            StorageTier::External => return None,
        };
        let KvEvent { event_id, data, dp_rank } = self.event;
        if dp_rank > MAX_RANK {
            return None;
        }
        let data = match data {
            KvData::Stored { parent_hash, blocks, .. } => {
                let blocks =
                    blocks.into_iter().map(|block| Block { sequence: block.block_hash, local: block.tokens_hash });
                EventData::Stored { parent: parent_hash, blocks: blocks.collect() }
            }
            KvData::Removed { block_hashes } => EventData::Removed { blocks: block_hashes },
            KvData::Cleared => EventData::Cleared,
        };
        Some(Event { worker: tier.worker(Worker::new(self.worker_id, dp_rank)), id: event_id, data })
    }
}
