//! A bound on the memory of all indexes, of what waits for them, and of what is remembered of publishers.
//!
//! Once a second it is added up: the memory of the indexes and what waits in their mailboxes, from
//! [`ShardStatus`](crate::index::ShardStatus), and the records of publishers, estimated from the capacities of their
//! tables. If the sum exceeds the budget, either new content is refused, or old blocks are forgotten until a tenth of the
//! budget is free. New content is blocks and workers. The bound is not hard: it may be exceeded by what arrives within a
//! second, and by other memory, which is requests, and a worker's blocks while they are saved or forgotten.
//!
//! The hashes of refused blocks are remembered, so that it is known when the engine has removed them all. They may take
//! an eighth of the budget more. Beyond that no more of them are remembered, and the doubt about their worker lasts until
//! it is cleared or restarts.
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
//! Where other records, such as those of refused blocks, leave less than half of the budget to blocks, no more blocks are
//! forgotten for them, and new content is refused: otherwise one publisher could make the service forget all others.
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

/// How much of the budget blocks may take however much is remembered of publishers, in thousandths.
const LEAST_FOR_BLOCKS: u64 = 500;

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
        // A full mailbox delays the answer of its writer: what is known already may be enough to refuse more.
        let waiting: u64 = models.iter().map(|model| model.index().waiting_bytes()).sum();
        if self.over == OverBudget::Refuse && self.bytes.load(Relaxed) + waiting > self.limit {
            models.iter().for_each(|model| model.allowance().set_exhausted(true, model.allowance().is_scarce()));
        }
        let used = models.iter().map(|model| Used::by(model)).fold(Used::default(), Used::and);
        let bytes = used.blocks + used.records;
        self.bytes.store(bytes, Relaxed);
        let over = bytes > self.limit;
        if over && self.exceeded.fetch_add(1, Relaxed) == 0 {
            tracing::warn!(bytes, budget = self.limit, over = %self.over, "the memory budget is exceeded");
        }
        let share = |thousandths| (u128::from(self.limit) * u128::from(thousandths) / 1000) as u64;
        let kept = share(KEPT).saturating_sub(used.records).max(share(LEAST_FOR_BLOCKS));
        let forgets = over && self.over == OverBudget::Forget && used.blocks > kept;
        let scarce = bytes > self.limit.saturating_add(self.limit / 8);
        for model in models.iter() {
            model.allowance().set_exhausted(over && !forgets, scarce);
            if self.over == OverBudget::Forget {
                model.allowance().track_recency();
            }
            if forgets {
                // This fails only if the model was shut down, and then it has nothing to forget.
                let _ = forget(model, 1000 - (u128::from(kept) * 1000 / u128::from(used.blocks)) as usize);
            }
        }
    }
}

/// The memory of models, in bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Used {
    /// Of indexes, and of events that wait for them.
    blocks: u64,
    /// Of what is remembered outside the indexes: about publishers, and in which order blocks came.
    records: u64,
}

impl Used {
    fn by(model: &Model) -> Self {
        let shards = model.index().status().shards;
        Self {
            blocks: shards.iter().map(|shard| shard.bytes + shard.mailbox_bytes).sum(),
            records: model.publishers().bytes() + model.allowance().bytes(),
        }
    }

    fn and(self, other: Self) -> Self {
        Self { blocks: self.blocks + other.blocks, records: self.records + other.records }
    }
}

/// Forgets a share of what every worker holds, in thousandths, on every tier.
fn forget(model: &Model, thousandths: usize) -> Result<(), Closed> {
    for publishers in model.publishers().all().chunk_by(|a, b| a.worker() == b.worker()) {
        let _at_rest = model.at_rest();
        let mut workers: Vec<_> = publishers.iter().flat_map(|publisher| publisher.workers()).collect();
        workers.sort_unstable();
        workers.dedup();
        // Publishers of one worker share their records.
        let mut records = publishers[0].records();
        let mut forgotten = 0;
        for worker in workers {
            let mut gone: [Vec<u64>; Tier::ALL.len()] = Default::default();
            for (tier, gone) in Tier::ALL.into_iter().zip(&mut gone) {
                *gone = forget_worker(model, tier.worker(worker), thousandths)?;
                forgotten += gone.len();
            }
            if let Some(record) = records.workers.get_mut(&worker.dp_rank) {
                record.forget_gone(&gone);
            }
        }
        if forgotten > 0 {
            for publisher in publishers {
                publisher.doubt(Doubt::Budget);
            }
            publishers[0].add(Count::Forgotten, forgotten as u64);
        }
    }
    Ok(())
}

/// Forgets a share of what one worker of the index holds, in thousandths. Returns these blocks.
fn forget_worker(model: &Model, worker: Worker, thousandths: usize) -> Result<Vec<u64>, Closed> {
    let events = model.index().export_worker(worker)?;
    let Some(id) = events.first().map(|event| event.id) else { return Ok(Vec::new()) };
    let blocks = {
        let recent = model.allowance().recent();
        least_recent(&events, recent.get(&Tier::split(worker).0), thousandths)
    };
    if !blocks.is_empty() {
        // The removal has the number of the worker's last event, so that the next event leaves no gap.
        let removed = Event { worker, id, data: EventData::Removed { blocks: blocks.clone() } };
        match model.index().import(vec![removed]) {
            Err(ImportError::Closed) => return Err(Closed),
            Err(ImportError::Rejected(rejection)) => unreachable!("the worker is there: {rejection}"),
            Ok(()) => {}
        }
    }
    Ok(blocks)
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

    /// Ten new blocks below a parent that nobody announced, on the device and on the host.
    fn say_unplaced(model: &Model, publisher: &Publisher, number: u64) {
        let first = (1 << 40) + number * 10;
        let blocks = |from| (from..from + 5).map(|name| DynamoBlock { block_hash: name, tokens_hash: name }).collect();
        let events =
            [(StorageTier::Device, first), (StorageTier::HostPinned, first + 5)].map(|(storage_tier, from)| {
                let data = DynamoData::Stored { parent_hash: Some(7), blocks: blocks(from) };
                DynamoEvent { worker_id: 1, storage_tier, event: NumberedEvent { event_id: number, data, dp_rank: 0 } }
            });
        dynamo_events(model, publisher, &events).expect("it runs");
    }

    #[test]
    fn a_publisher_of_endless_stores_below_unknown_parents_stays_within_the_budget() {
        for over in [OverBudget::Refuse, OverBudget::Forget] {
            let (models, model, publisher) = fleet();
            let budget = Budget::new(8 << 20, over);
            say(&model, &publisher, 1);
            let mut number = 0;
            let mut round = || {
                (0..1000).for_each(|_| {
                    number += 1;
                    say_unplaced(&model, &publisher, number);
                });
                budget.check(&models);
                let Used { blocks, records } = Used::by(&model);
                blocks + records
            };
            // Two million blocks, which would take a hundred bytes each.
            let most = (0..200).map(|_| round()).max().expect("some rounds");
            assert!(budget.over().is_some() && most < 12 << 20, "{over}: {most} bytes");
            let settled = round();
            assert_eq!((0..20).map(|_| round()).max(), Some(settled), "{over}: not even slowly does it grow");
            assert!(publisher.doubts().has(Doubt::Budget));
            assert_eq!(held(&model, Tier::Host), 10, "{over}: what was held is still there");

            // A clear ends it, and everything is as at the beginning.
            let data = DynamoData::Cleared;
            let event = NumberedEvent { event_id: number + 1, data, dp_rank: 0 };
            let cleared = DynamoEvent { worker_id: 1, storage_tier: StorageTier::Device, event };
            dynamo_events(&model, &publisher, [&cleared]).expect("it runs");
            budget.check(&models);
            assert_eq!((budget.over(), publisher.is_doubtful()), (None, false));
            assert!(Used::by(&model).records < 1 << 18, "what is left is the order of the last blocks");
            say(&model, &publisher, 3);
            assert_eq!(held(&model, Tier::Host), 10);
        }
    }

    /// A batch with a store of one salted block below a parent that nobody announced, in this cache group.
    fn apply_salted(model: &Model, publisher: &Publisher, number: u64, group: u64) {
        let stored = serde_json::json!({
            "type": "BlockStored", "block_hashes": [(1u64 << 40) + number], "parent_block_hash": 7, "token_ids": vec![1; 16],
            "block_size": 16, "cache_salt": "s", "group_idx": group, "kv_cache_spec_kind": "full_attention",
        });
        let payload = rmp_serde::to_vec(&serde_json::json!([1.0, [stored]])).expect("memory");
        crate::service::ingest::apply(model, publisher, number, &payload).expect("it runs");
    }

    #[test]
    fn salts_and_cache_groups_without_end_are_bounded() {
        let (models, model, publisher) = fleet();
        let budget = Budget::new(4 << 20, OverBudget::Refuse);
        let mut number = 0;
        let mut round = || {
            (0..1000).for_each(|_| {
                apply_salted(&model, &publisher, number, 0);
                number += 1;
            });
            budget.check(&models);
            publisher.records().bytes()
        };
        while round() < 1 << 20 {}
        assert_eq!((publisher.skipped(Skip::Budget), budget.over()), (0, None), "salts are remembered");
        while budget.over().is_none() {
            round();
        }
        assert!((0..100).map(|_| round()).max() < Some(5 << 20));
        assert!(publisher.skipped(Skip::Budget) >= 100_000);

        let (_, model, publisher) = fleet();
        (0..2000).for_each(|group| apply_salted(&model, &publisher, group, group));
        assert_eq!(publisher.skipped(Skip::Malformed), 2000 - 1024);
        assert!(publisher.records().workers.values().all(|record| record.groups.len() == 1024));
        assert!(publisher.doubts().has(Doubt::Malformed));
    }

    #[test]
    fn a_publisher_of_endless_ranks_is_bounded_with_and_without_a_budget() {
        let say = |model: &Model, publisher: &Publisher, dp_rank| {
            let blocks = vec![DynamoBlock { block_hash: 1, tokens_hash: 1 }];
            let event = NumberedEvent { event_id: 1, data: DynamoData::Stored { parent_hash: None, blocks }, dp_rank };
            let event = DynamoEvent { worker_id: 1, storage_tier: StorageTier::Device, event };
            dynamo_events(model, publisher, [&event]).expect("it runs").skipped
        };
        let (_, model, publisher) = fleet();
        let skipped: u64 = (0..5000).map(|rank| say(&model, &publisher, rank)).sum();
        assert_eq!((skipped, publisher.skipped(Skip::Rank)), (5000 - 4096, 5000 - 4096));
        assert_eq!((publisher.workers().len(), model.index().status().workers.len()), (4096, 4096));
        assert_eq!(say(&model, &publisher, 17), 0, "known ranks go on");
        assert!(publisher.doubts().has(Doubt::Rank));

        let (models, model, publisher) = fleet();
        say(&model, &publisher, 0);
        let budget = Budget::new(1, OverBudget::Refuse);
        budget.check(&models);
        assert_eq!((say(&model, &publisher, 1), publisher.skipped(Skip::Budget)), (1, 1));
        assert_eq!(publisher.workers(), [A]);
        assert!(publisher.doubts().has(Doubt::Budget));
    }

    #[test]
    fn what_waits_in_a_mailbox_counts_although_its_writer_is_busy() {
        let (models, model, publisher) = fleet();
        let budget = Budget::new(1 << 20, OverBudget::Refuse);
        say(&model, &publisher, 5001);
        budget.check(&models);
        assert_eq!(budget.over(), None);
        let hold = model.index().hold_up();
        (0..5000).for_each(|sequence| say(&model, &publisher, sequence));
        assert!(model.index().waiting_bytes() > 1 << 20);
        std::thread::scope(|scope| {
            let check = scope.spawn(|| budget.check(&models));
            while !model.allowance().is_exhausted() {
                std::thread::yield_now();
            }
            say(&model, &publisher, 5000);
            assert_eq!(publisher.skipped(Skip::Budget), 2, "refused while the writer has not answered");
            hold.recv().expect("the writer waits");
            check.join().expect("no panic here");
        });
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
        let Used { blocks, records } = Used::by(&model);
        assert!(blocks + records < (1 << 20) * 6 / 5, "{blocks} and {records} bytes");
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
