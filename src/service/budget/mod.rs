//! A bound on the memory of all indexes.
//!
//! Once a second the memory of the indexes is added up from [`ShardStatus::bytes`](crate::index::ShardStatus::bytes).
//! If it exceeds the budget, either new blocks are refused, or old blocks are forgotten until a tenth of the budget is
//! free. The bound is not hard: it may be exceeded by what arrives within a second, and by memory outside the indexes,
//! which is mailboxes, requests, and a worker's blocks while they are saved or forgotten.
//!
//! Blocks that are refused or forgotten are missing from answers, and the engine will not announce them again. From
//! then on answers about its workers are exact *at least*.
//!
//! # What is forgotten
//! A block is as recent as the newest block in the chains that continue it, or as itself if it is newer. The least
//! recent blocks go first, and among equally recent ones the deepest. So a shared system prompt stays while anybody
//! stores blocks behind it, and a sequence loses its end before its beginning: never is there a hole, which would cost
//! memory instead of freeing it.
//!
//! Every worker gives up the same share of its blocks. If the fleet's oldest blocks went first, some workers could lose
//! everything; to a router they would look cold, and they would get no more requests that suit their caches.
//!
//! For each worker, the order of its last 16,384 stored blocks is remembered, which takes 128 KiB. All other blocks
//! count as older, and as equally old.

mod least_recent;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use least_recent::least_recent;

use crate::event::{Event, EventData, Worker};
use crate::index::{Closed, ImportError};
use crate::service::doubt::Doubt;
use crate::service::models::{Model, Models};
use crate::service::publisher::Count;
use crate::service::tier::Tier;

/// How much of the budget is in use after something was forgotten, in thousandths.
const KEPT: u64 = 900;

/// What happens when the memory budget is exceeded. Written and parsed as `refuse` or `forget`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OverBudget {
    /// New blocks are refused until there is room again.
    #[default]
    Refuse,
    /// The least recently stored blocks are forgotten.
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

/// The memory budget: how much there is, and what happens beyond it.
#[derive(Debug)]
pub(super) struct Budget {
    limit: u64,
    over: OverBudget,
    bytes: AtomicU64,
    /// How many checks found it exceeded.
    exceeded: AtomicU64,
}

impl Budget {
    /// The time between two checks.
    pub(super) const INTERVAL: Duration = Duration::from_secs(1);

    pub(super) fn new(limit: u64, over: OverBudget) -> Self {
        Self { limit, over, bytes: AtomicU64::new(0), exceeded: AtomicU64::new(0) }
    }

    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// Returns what is being done because the budget is exceeded; `None` if it is not.
    pub(super) fn over(&self) -> Option<OverBudget> {
        (self.bytes.load(Relaxed) > self.limit).then_some(self.over)
    }

    /// Adds up the memory, and refuses or forgets blocks if it exceeds the budget.
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
                OverBudget::Refuse => model.allowance().set_exhausted(over),
                OverBudget::Forget => {
                    model.allowance().track_recency();
                    // This fails only if the model was shut down, and then it has nothing to forget.
                    let _ = over.then(|| forget(model, 1000 - (KEPT * self.limit / bytes) as usize));
                }
            }
        }
    }
}

/// Returns the memory of a model's index, and of the order of its last blocks.
fn bytes(model: &Model) -> u64 {
    let shards = model.index().status().shards;
    shards.iter().map(|shard| shard.bytes).sum::<u64>() + model.allowance().bytes()
}

/// Forgets a share of what every worker holds, in thousandths, tier by tier.
fn forget(model: &Model, thousandths: usize) -> Result<(), Closed> {
    let publishers = model.publishers().all();
    for publisher in &publishers {
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

/// Forgets a share of what one worker holds, in thousandths. Returns how many blocks that are.
fn forget_worker(model: &Model, worker: Worker, thousandths: usize) -> Result<usize, Closed> {
    let events = model.index().export_worker(worker)?;
    let Some(id) = events.first().map(|event| event.id) else { return Ok(0) };
    let blocks = {
        let recent = model.allowance().recent();
        least_recent(&events, recent.get(&Tier::split(worker).0), thousandths)
    };
    let forgotten = blocks.len();
    if forgotten > 0 {
        // The removal has the number of the worker's last event, so that the next event leaves no gap.
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
    use crate::service::models::Key;
    use crate::service::publisher::{Publisher, Skip};
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
        let publisher = model.publishers().enter_over_http(&[A]).remove(0).expect("the first");
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
        let mut matches = crate::index::Matches::new();
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
}
