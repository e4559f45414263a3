//! Events in the format of Dynamo's router, in JSON or in msgpack with field names: `POST /events` accepts them, and
//! `GET /dump` returns them.

use serde::{Deserialize, Serialize};

use super::change::Change;
use super::worker_feed::WorkerFeed;
use crate::event::{Block, Event, EventData, Worker};
use crate::index::Closed;
use crate::service::doubt::Doubt;
use crate::service::models::Model;
use crate::service::publisher::{Count, Position, Publisher, Skip};
use crate::service::tier::{MAX_RANK, Tier};

/// An event, and whose it is. Unknown fields are ignored.
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

/// Where blocks are, in the terms of Dynamo's router.
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
    /// Storage that no instance owns. Its blocks are not indexed.
    #[serde(other)]
    External,
}

/// An event with its number and rank.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NumberedEvent {
    /// The number of the event; each worker counts its own.
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
    /// Blocks of one sequence were stored.
    Stored {
        /// The sequence hash of the block before the first.
        #[serde(default)]
        parent_hash: Option<u64>,
        /// The blocks, in the order of the sequence.
        blocks: Vec<DynamoBlock>,
    },
    /// Blocks were removed.
    Removed {
        /// Their sequence hashes.
        block_hashes: Vec<u64>,
    },
    /// The cache was cleared.
    Cleared,
}

/// A block, with its two hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DynamoBlock {
    /// The sequence hash.
    pub block_hash: u64,
    /// The local hash, of tokens and multimodal objects.
    pub tokens_hash: u64,
}

impl DynamoEvent {
    /// Converts an event about the cache of `worker`, on a tier.
    ///
    /// # Panics
    /// If `data` is about the worker itself, not its cache.
    pub fn of(worker: Worker, tier: Tier, event_id: u64, data: EventData) -> Self {
        let data = match data {
            EventData::Stored { parent, blocks } => {
                let block = |block: Block| DynamoBlock { block_hash: block.sequence, tokens_hash: block.local };
                DynamoData::Stored { parent_hash: parent, blocks: blocks.into_iter().map(block).collect() }
            }
            EventData::Removed { blocks } => DynamoData::Removed { block_hashes: blocks },
            EventData::Cleared => DynamoData::Cleared,
            EventData::WorkerAdded | EventData::WorkerRemoved | EventData::CopiesCounted => {
                panic!("the event is about the worker, not its cache")
            }
        };
        let storage_tier = match tier {
            Tier::Device => StorageTier::Device,
            Tier::Host => StorageTier::HostPinned,
            Tier::Disk => StorageTier::Disk,
        };
        Self { worker_id: worker.id, storage_tier, event: NumberedEvent { event_id, data, dp_rank: worker.dp_rank } }
    }

    /// Returns the worker that it is about.
    pub(in crate::service) fn worker(&self) -> Worker {
        Worker::new(self.worker_id, self.event.dp_rank)
    }

    /// Whether it is about storage that no instance owns, which is not indexed.
    pub(in crate::service) fn is_shared(&self) -> bool {
        self.storage_tier == StorageTier::External
    }

    /// Returns what it changes, or why it is skipped.
    fn change(&self) -> Result<Change<'_>, Skip> {
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
            DynamoData::Removed { block_hashes } => Change::Removed { tier, hashes: block_hashes.into() },
            DynamoData::Stored { parent_hash, blocks } => {
                let block = |block: &DynamoBlock| Block { sequence: block.block_hash, local: block.tokens_hash };
                Change::Stored { tier, parent: *parent_hash, blocks: blocks.iter().map(block).collect() }
            }
        })
    }
}

/// What became of events that came over HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Events that were handed to the index.
    pub events: u64,
    /// Blocks that they name.
    pub blocks: u64,
    /// Events that were skipped. The [`Publisher`] has counted the reasons.
    pub skipped: u64,
}

/// Hands events to the index, and returns when the index has accepted them. All of them must be about workers of the
/// instance that `publisher` speaks for.
///
/// # Errors
/// The index was shut down, or the publisher was removed from its model. Nothing was handed to the index then, or only
/// what is forgotten with the model.
pub fn dynamo_events<'e>(
    model: &Model,
    publisher: &Publisher,
    events: impl IntoIterator<Item = &'e DynamoEvent>,
) -> Result<Applied, Closed> {
    let _applying = model.applying();
    let mut position = publisher.position();
    if publisher.has_left(&position) {
        return Err(Closed);
    }
    let mut records = publisher.records();
    let mut applied = Applied::default();
    for said in events {
        let event = &said.event;
        publisher.note_spoken();
        publisher.note_seen(None);
        follow(publisher, &mut position, event.event_id);
        let opened = match said.change() {
            Ok(change) => WorkerFeed::open(model, publisher, &mut records, event.dp_rank)?.map(|feed| (feed, change)),
            Err(why) => Err(why),
        };
        let made = match opened {
            Ok((mut feed, change)) => feed.make(change, event.event_id)?,
            Err(why) => {
                publisher.skip(why);
                why.doubt().into_iter().for_each(|doubt| publisher.doubt(doubt));
                None
            }
        };
        match made {
            Some(blocks) => {
                applied.events += 1;
                applied.blocks += blocks;
            }
            None => applied.skipped += 1,
        }
    }
    Ok(applied)
}

/// Checks an event's number, and moves on to the next. Numbers count up by one, and the first is 0 or 1: if it is
/// higher, earlier events were missed.
fn follow(publisher: &Publisher, position: &mut Position, id: u64) {
    let expected = position.next_sequence;
    if expected == 0 {
        if id > 1 {
            publisher.doubt(Doubt::JoinedLate);
        }
    } else if id > expected {
        publisher.add(Count::Gaps, 1);
        publisher.doubt(Doubt::EventIds);
    } else if id + 1 < expected {
        // The last number may come again: events about several tiers may share one.
        publisher.doubt(Doubt::EventIds);
    }
    publisher.advance(position, id.saturating_add(1));
}

/// Converts an export of an index to events that bring an importer to the same state.
pub(in crate::service) fn dump(events: impl IntoIterator<Item = Event>) -> impl Iterator<Item = DynamoEvent> {
    events.into_iter().filter_map(|event| {
        let (worker, tier) = Tier::split(event.worker);
        match event.data {
            EventData::WorkerAdded | EventData::WorkerRemoved | EventData::CopiesCounted => None,
            data => Some(DynamoEvent::of(worker, tier, event.id, data)),
        }
    })
}
