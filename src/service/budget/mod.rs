//! A bound on the memory of all indexes.
//!
//! Once a second their memory is added up ([`ShardStatus::bytes`](crate::ShardStatus::bytes), which the index keeps count
//! of). Beyond the budget, either new content is refused, or old content is forgotten until a tenth of the budget is
//! free. What one second brings may go beyond it, and so may what is outside the indexes: mailboxes, requests, a worker's
//! blocks while they are saved or forgotten.
//!
//! What is refused or forgotten is missing in answers, and the engine will not say it again: from then on, its publisher
//! holds at least what is said of it.
//!
//! # What is forgotten
//! A block is as recent as the block stored last among those that continue it and itself. Least recent goes first, of
//! equals the deepest. So a shared system prompt stays while anybody stores behind it, sequences lose their ends before
//! their beginnings, and never is there a hole, which would cost memory and free none. Every worker gives up the same
//! part of what it holds, rather than the fleet its oldest blocks: a worker of which all is forgotten would look cold
//! to a router, and get no more requests that suit its cache.
//!
//! The order of a worker's last 16,384 stored blocks is remembered, 128 KiB. All others are older, and equals.

mod least_recent;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use least_recent::least_recent;

use super::doubt::Doubt;
use super::model::{Model, Models};
use super::publisher::Count;
use super::tier::Tier;
use crate::event::{Block, Event, EventData, Worker};
use crate::index::{Closed, ImportError};

/// Blocks of a worker whose order is remembered.
const RECENT: usize = 1 << 14;

/// Thousandths of the budget that are left once something was forgotten.
const KEPT: u64 = 900;

/// What is done when the memory budget is exceeded. Written and parsed as `refuse`, `forget`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OverBudget {
    /// New content is left out until there is room again.
    #[default]
    Refuse,
    /// The least recently stored blocks are left out.
    Forget,
}

impl fmt::Display for OverBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refuse => "refuse",
            Self::Forget => "forget",
        })
    }
}

/// What the budget means for one model.
#[derive(Debug, Default)]
pub(super) struct Room {
    none_left: AtomicBool,
    remembers: AtomicBool,
    /// By worker, the sequence hashes that it stored last, in order.
    recent: Mutex<HashMap<Worker, VecDeque<u64>>>,
}

impl Room {
    /// Whether new content is to be left out.
    pub(super) fn is_exhausted(&self) -> bool {
        self.none_left.load(Relaxed)
    }

    /// Remembers what was stored last, if anybody will want to know.
    pub(super) fn note(&self, worker: Worker, blocks: &[Block]) {
        if self.remembers.load(Relaxed) {
            let mut recent = self.recent();
            let recent = recent.entry(worker).or_default();
            let new = &blocks[blocks.len().saturating_sub(RECENT)..];
            recent.drain(..(recent.len() + new.len()).saturating_sub(RECENT));
            recent.extend(new.iter().map(|block| block.sequence));
        }
    }

    fn recent(&self) -> MutexGuard<'_, HashMap<Worker, VecDeque<u64>>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How much memory there is, and what is done without it.
#[derive(Debug)]
pub(super) struct Budget {
    limit: u64,
    over: OverBudget,
    bytes: AtomicU64,
    /// How often it was exceeded.
    exceeded: AtomicU64,
}

impl Budget {
    /// Between two checks.
    pub(super) const INTERVAL: Duration = Duration::from_secs(1);

    pub(super) fn new(limit: u64, over: OverBudget) -> Self {
        Self { limit, over, bytes: AtomicU64::new(0), exceeded: AtomicU64::new(0) }
    }

    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// What is done about the memory that is missing, if it is.
    pub(super) fn over(&self) -> Option<OverBudget> {
        (self.bytes.load(Relaxed) > self.limit).then_some(self.over)
    }

    /// Adds up, and does what has to be done.
    pub(super) fn check(&self, models: &Models) {
        let models = models.all();
        let bytes = models.iter().map(|model| bytes(model)).sum();
        self.bytes.store(bytes, Relaxed);
        let over = bytes > self.limit;
        if over && self.exceeded.fetch_add(1, Relaxed) == 0 {
            tracing::warn!(bytes, budget = self.limit, over = %self.over, "the memory budget is exceeded");
        }
        for model in models.iter() {
            match self.over {
                OverBudget::Refuse => model.room().none_left.store(over, Relaxed),
                OverBudget::Forget => {
                    model.room().remembers.store(true, Relaxed);
                    // A model that was shut down has nothing to forget.
                    let _ = over.then(|| forget(model, 1000 - (KEPT * self.limit / bytes) as usize));
                }
            }
        }
    }
}

/// WorkerRecord of a model's index, and of what is remembered for it.
fn bytes(model: &Model) -> u64 {
    let recent = model.room().recent().values().map(|recent| recent.capacity() * size_of::<u64>()).sum::<usize>();
    let shards = model.index().status().shards;
    shards.iter().map(|shard| shard.bytes).sum::<u64>() + recent as u64
}

/// Forgets so many thousandths of what every worker holds, tier by tier.
fn forget(model: &Model, thousandths: usize) -> Result<(), Closed> {
    let publishers = model.publishers().all();
    for publisher in publishers.iter() {
        let _at_rest = model.at_rest();
        let mut forgotten = 0;
        for worker in publisher.workers().into_iter().flat_map(|worker| Tier::ALL.map(|tier| tier.worker(worker))) {
            forgotten += forget_worker(model, worker, thousandths)?;
        }
        if forgotten > 0 {
            publisher.doubt(Doubt::Budget);
            publisher.add(Count::Forgotten, forgotten as u64);
        }
    }
    Ok(())
}

/// Returns how many blocks are forgotten.
fn forget_worker(model: &Model, worker: Worker, thousandths: usize) -> Result<usize, Closed> {
    let events = model.index().export_worker(worker)?;
    let Some(id) = events.first().map(|event| event.id) else { return Ok(0) };
    let blocks = {
        let recent = model.room().recent();
        least_recent(&events, recent.get(&Tier::split(worker).0), thousandths)
    };
    let forgotten = blocks.len();
    if forgotten > 0 {
        // Under the number of the last event, so that the next one of the worker leaves no gap.
        let removed = Event { worker, id, data: EventData::Removed { blocks } };
        match model.index().import(vec![removed]) {
            Err(ImportError::Closed) => return Err(Closed),
            Err(ImportError::Rejected(rejection)) => unreachable!("the worker is there: {rejection}"),
            Ok(()) => {}
        }
    }
    Ok(forgotten)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::Index;
    use crate::service::ingest::{DynamoBlock, DynamoData, DynamoEvent, NumberedEvent, StorageTier, dynamo_events};
    use crate::service::model::Key;
    use crate::service::publisher::{Copies, Publisher, Skip};
    use std::sync::Arc;

    const A: Worker = Worker::new(1, 0);

    /// Ten blocks of the sequence of this number, whose end is stored on the host.
    fn say(model: &Model, publisher: &Publisher, sequence: u64) {
        let stored = |tier, parent, names: std::ops::Range<u64>| {
            let blocks = names.map(|name| DynamoBlock { block_hash: name, tokens_hash: name }).collect();
            let data = DynamoData::Stored { parent_hash: parent, blocks };
            let event = NumberedEvent { event_id: sequence, data, dp_rank: 0 };
            DynamoEvent { worker_id: 1, storage_tier: tier, event }
        };
        let first = sequence * 10;
        let device = stored(StorageTier::Device, None, first..first + 8);
        let host = stored(StorageTier::HostPinned, Some(first + 7), first + 8..first + 10);
        dynamo_events(model, publisher, &[device, host]).expect("it runs");
    }

    fn fleet() -> (Models, Arc<Model>, Arc<Publisher>) {
        let models = Models::new(Index::builder(), 1);
        let model = models.get_or_add(&Key::new("m"), 16).expect("new");
        let publisher = model.publishers().enter(A, None, Copies::Single).expect("the first");
        (models, model, publisher)
    }

    fn held(model: &Model, tier: Tier) -> u64 {
        let workers = model.index().status().workers;
        workers.iter().find(|worker| worker.worker == tier.worker(A)).map_or(0, |worker| worker.held_blocks)
    }

    #[test]
    fn what_is_beyond_the_budget_is_refused_and_the_publisher_doubted() {
        let (models, model, publisher) = fleet();
        let budget = Budget::new(1 << 20, OverBudget::Refuse);
        let mut sequences = 0;
        while budget.over().is_none() {
            (0..500).for_each(|_| {
                sequences += 1;
                say(&model, &publisher, sequences);
            });
            assert!(!publisher.is_doubtful());
            budget.check(&models);
        }
        let before = (held(&model, Tier::Device), held(&model, Tier::Host));
        assert_eq!(before, (8 * sequences, 10 * sequences), "nothing is refused before");
        say(&model, &publisher, sequences + 1);
        assert_eq!((held(&model, Tier::Device), held(&model, Tier::Host)), before);
        assert!(publisher.is_doubtful());
        assert_eq!(publisher.skipped(Skip::Budget), 2);

        // Removals make room, and then there is some.
        let all: Vec<u64> = (0..=sequences * 10 + 9).collect();
        for tier in [StorageTier::Device, StorageTier::HostPinned] {
            let data = DynamoData::Removed { block_hashes: all.clone() };
            let event = NumberedEvent { event_id: sequences + 2, data, dp_rank: 0 };
            dynamo_events(&model, &publisher, &[DynamoEvent { worker_id: 1, storage_tier: tier, event }])
                .expect("it runs");
        }
        budget.check(&models);
        assert_eq!(budget.over(), None);
        say(&model, &publisher, sequences + 3);
        assert_eq!(held(&model, Tier::Host), 10);
        assert!(publisher.is_doubtful(), "what was refused is still missing");
    }

    #[test]
    fn beyond_the_budget_the_oldest_sequences_are_forgotten() {
        let (models, model, publisher) = fleet();
        let budget = Budget::new(1 << 20, OverBudget::Forget);
        budget.check(&models);
        let mut sequences = 0;
        // What is checked often is never far beyond.
        for _ in 0..100 {
            (0..100).for_each(|_| {
                sequences += 1;
                say(&model, &publisher, sequences);
            });
            budget.check(&models);
        }
        assert!(bytes(&model) < (1 << 20) * 6 / 5, "{} bytes", bytes(&model));
        assert!(publisher.is_doubtful());
        assert!(publisher.count(Count::Forgotten) > 10 * sequences / 2);
        assert!(held(&model, Tier::Host) > 1000, "{} left", held(&model, Tier::Host));
        let mut matches = crate::Matches::new();
        let mut depth = |sequence: u64| {
            model.index().find(&(sequence * 10..sequence * 10 + 10).collect::<Vec<_>>(), &mut matches);
            (matches.depth(A), matches.depth(Tier::Host.worker(A)))
        };
        assert_eq!(depth(sequences), (8, 10), "the newest is whole");
        assert_eq!(depth(1), (0, 0), "the oldest is gone");
        for sequence in 1..=sequences {
            let (device, host) = depth(sequence);
            assert!(device <= host, "what is on the device is within reach of the host's worker");
        }
        let gaps = model.index().status().workers.iter().map(|worker| worker.gaps).sum::<u64>();
        assert_eq!(gaps, 0, "forgetting leaves no gap in the numbers");
    }

    #[test]
    fn a_room_remembers_the_last_blocks_of_a_worker() {
        let room = Room::default();
        let blocks: Vec<_> = (0..40_000).map(|name| Block { sequence: name, local: name }).collect();
        room.note(A, &blocks[..10]);
        assert!(room.recent().is_empty(), "nobody wants to know");
        room.remembers.store(true, Relaxed);
        room.note(A, &blocks[..10]);
        room.note(A, &blocks[10..20]);
        assert_eq!(room.recent()[&A], (0..20).collect::<Vec<_>>());
        room.note(A, &blocks[20..RECENT + 5]);
        assert_eq!(room.recent()[&A], (5..RECENT as u64 + 5).collect::<Vec<_>>());
        room.note(A, &blocks);
        assert_eq!(room.recent()[&A], (40_000 - RECENT as u64..40_000).collect::<Vec<_>>());
        assert!(room.recent()[&A].capacity() <= 2 * RECENT);
    }
}
