//! Events in the form of Dynamo's router: what `POST /events` takes and `/dump` gives, in JSON or named msgpack.

use serde::{Deserialize, Serialize};

use super::tier_writer::Change;
use crate::event::{Block, EventData, Worker};
use crate::service::publisher::Skip;
use crate::service::{MAX_RANK, Tier};

/// An event, and whose it is. Unknown fields are passed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DynamoEvent {
    /// The instance.
    pub worker_id: u64,
    /// Where its blocks are.
    #[serde(default)]
    pub storage_tier: StorageTier,
    /// What happened.
    pub event: NumberedEvent,
}

/// Where blocks are, in the router's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StorageTier {
    /// WorkerRecord of the accelerator.
    #[default]
    Device,
    /// WorkerRecord of the host.
    HostPinned,
    /// A disk.
    Disk,
    /// No instance's own: not indexed.
    #[serde(other)]
    External,
}

/// An event with its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NumberedEvent {
    /// The worker's own running number.
    pub event_id: u64,
    /// What happened.
    pub data: DynamoData,
    /// The data-parallel rank.
    #[serde(default)]
    pub dp_rank: u32,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DynamoData {
    /// Blocks of one sequence are cached.
    Stored {
        /// The block before the first.
        #[serde(default)]
        parent_hash: Option<u64>,
        /// In order.
        blocks: Vec<DynamoBlock>,
    },
    /// Blocks are not cached any more.
    Removed {
        /// Their sequence hashes.
        block_hashes: Vec<u64>,
    },
    /// The cache is empty.
    Cleared,
}

/// A block under its two names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DynamoBlock {
    /// The sequence hash.
    pub block_hash: u64,
    /// The local hash, of tokens and multimodal objects.
    pub tokens_hash: u64,
}

impl DynamoEvent {
    /// An event of the worker `rank`, on a tier; of [`EventData`], those about a cache.
    ///
    /// # Panics
    /// When `data` is about the worker rather than its cache.
    pub fn of(rank: Worker, tier: Tier, event_id: u64, data: EventData) -> Self {
        let data = match data {
            EventData::Stored { parent, blocks } => {
                let block = |block: Block| DynamoBlock { block_hash: block.sequence, tokens_hash: block.local };
                DynamoData::Stored { parent_hash: parent, blocks: blocks.into_iter().map(block).collect() }
            }
            EventData::Removed { blocks } => DynamoData::Removed { block_hashes: blocks },
            EventData::Cleared => DynamoData::Cleared,
            EventData::WorkerAdded | EventData::WorkerRemoved | EventData::CopiesCounted => {
                panic!("an event about a worker, not its cache")
            }
        };
        let storage_tier = match tier {
            Tier::Device => StorageTier::Device,
            Tier::Host => StorageTier::HostPinned,
            Tier::Disk => StorageTier::Disk,
        };
        Self { worker_id: rank.id, storage_tier, event: NumberedEvent { event_id, data, dp_rank: rank.dp_rank } }
    }

    pub(super) fn change(&self) -> Result<Change<'_>, Skip> {
        if self.event.dp_rank > MAX_RANK {
            return Err(Skip::Rank);
        }
        let tier = match self.storage_tier {
            StorageTier::Device => Tier::Device,
            StorageTier::HostPinned => Tier::Host,
            StorageTier::Disk => Tier::Disk,
            StorageTier::External => return Err(Skip::Shared),
        };
        Ok(match &self.event.data {
            DynamoData::Cleared => Change::Cleared,
            DynamoData::Removed { block_hashes } => Change::Removed { tier, hashes: block_hashes },
            DynamoData::Stored { parent_hash, blocks } => {
                let block = |block: &DynamoBlock| Block { sequence: block.block_hash, local: block.tokens_hash };
                Change::Stored { tier, parent: *parent_hash, blocks: blocks.iter().map(block).collect() }
            }
        })
    }
}
