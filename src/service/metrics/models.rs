//! Metrics of models and their indexes.

use std::collections::HashMap;
use std::sync::Arc;

use super::exposition::{Buckets, Exposition, Kind, Labels};
use crate::event::Worker;
use crate::index::{Rejection, ShardStatus, Status};
use crate::service::models::Model;
use crate::service::tier::Tier;

/// Returns the labels of everything about one model.
pub(super) fn labels(model: &Model) -> Labels {
    let key = model.key();
    Labels::default().with("group", &key.group).with("model", &key.model).with("tenant", &key.tenant)
}

/// A metric of a shard, summed over the shards of a model: kind, name, help, value.
type Figure = (Kind, &'static str, &'static str, fn(&ShardStatus) -> f64);

const FIGURES: [Figure; 11] = [
    (Kind::Gauge, "kvleap_blocks_distinct", "Blocks held, each once per shard", |shard| shard.distinct_blocks as f64),
    (
        Kind::Gauge,
        "kvleap_blocks_indexed",
        "Blocks in the index, each once per shard, and those before them",
        |shard| shard.indexed_blocks as f64,
    ),
    (Kind::Gauge, "kvleap_runs", "Chains of blocks kept as one array", |shard| shard.runs as f64),
    (Kind::Gauge, "kvleap_index_bytes", "Memory of the index", |shard| shard.bytes as f64),
    (Kind::Counter, "kvleap_index_events_total", "Events applied or rejected by the index", |shard| {
        shard.applied_events as f64
    }),
    (Kind::Counter, "kvleap_index_blocks_total", "Blocks named by these events", |shard| shard.applied_blocks as f64),
    (Kind::Counter, "kvleap_publications_total", "Snapshots published for readers", |shard| shard.generation as f64),
    (Kind::Counter, "kvleap_apply_seconds_total", "Time that writers spent applying events", |shard| {
        shard.apply_time.as_secs_f64()
    }),
    (Kind::Counter, "kvleap_publish_seconds_total", "Time that writers spent publishing snapshots", |shard| {
        shard.publish_time.as_secs_f64()
    }),
    (Kind::Gauge, "kvleap_shards", "Shards of the index, each with a writer", |_| 1.0),
    (Kind::Gauge, "kvleap_writers_alive", "Writers that are running", |shard| f64::from(u8::from(shard.alive))),
];

/// A metric of every shard's mailbox: name, help, value.
type OfMailbox = (&'static str, &'static str, fn(&ShardStatus) -> u64);

/// These are not summed over the shards: a sum would hide a full mailbox among empty ones.
const MAILBOXES: [OfMailbox; 4] = [
    ("kvleap_mailbox_depth", "Events that wait for a writer", |shard| shard.mailbox_depth as u64),
    ("kvleap_mailbox_capacity", "Events that may wait for a writer", |shard| shard.mailbox_capacity as u64),
    ("kvleap_mailbox_bytes", "Bytes of events that wait for a writer", |shard| shard.mailbox_bytes),
    ("kvleap_mailbox_bytes_limit", "Bytes of events that may wait for a writer", |shard| shard.mailbox_bytes_capacity),
];

/// Adds the metrics of all models. Waits for their writers.
pub(super) fn put(text: &mut Exposition, models: &[Arc<Model>]) {
    let all: Vec<_> = models.iter().map(|model| (model, labels(model), model.index().status())).collect();
    for (kind, name, help, figure) in FIGURES {
        let mut family = text.family(kind, name, help);
        for (_, labels, status) in &all {
            family.sample(labels, status.shards.iter().map(figure).sum::<f64>());
        }
    }
    let holders: Vec<_> = all.iter().map(|(_, labels, status)| (labels, holders(status))).collect();
    let mut family = text.family(Kind::Gauge, "kvleap_workers", "Workers that the index knows");
    for (labels, holders) in &holders {
        family.sample(labels, holders.len());
    }
    let mut family = text.family(Kind::Gauge, "kvleap_blocks_held", "Blocks held, summed over the workers");
    for (labels, holders) in &holders {
        family.sample(labels, holders.values().sum::<u64>());
    }
    for (name, help, figure) in MAILBOXES {
        let mut family = text.family(Kind::Gauge, name, help);
        for (_, labels, status) in &all {
            for shard in &status.shards {
                family.sample(&labels.with("shard", shard.shard), figure(shard));
            }
        }
    }
    let help = "Time from an event's acceptance to its visibility";
    let mut family = text.family(Kind::Histogram, "kvleap_staleness_seconds", help);
    for (_, labels, status) in &all {
        let mut buckets = Buckets::default();
        status.shards.iter().for_each(|shard| buckets.add(&shard.lag));
        family.buckets(labels, &buckets);
    }
    let help = "Events that the index rejected";
    let mut family = text.family(Kind::Counter, "kvleap_index_rejected_total", help);
    for (_, labels, status) in &all {
        for reason in Rejection::ALL {
            let strangers = status.shards.iter().map(|shard| shard.rejected_strangers[reason as usize]);
            let known = status.workers.iter().map(|worker| worker.rejected(reason));
            family.sample(&labels.with("reason", reason.name()), strangers.chain(known).sum::<u64>());
        }
    }
    let help = "Tokens of the prompts looked up, in whole blocks";
    let mut family = text.family(Kind::Counter, "kvleap_tokens_asked_total", help);
    for (model, labels, _) in &all {
        family.sample(labels, model.tokens_asked());
    }
    let help = "Of these tokens, those that the worker with the longest match holds";
    let mut family = text.family(Kind::Counter, "kvleap_tokens_found_total", help);
    for (model, labels, _) in &all {
        family.sample(labels, model.tokens_found());
    }
}

/// Returns how many blocks each worker holds. In the index, what a worker holds on one tier is held by a further worker
/// on each slower one that it has.
fn holders(status: &Status) -> HashMap<Worker, u64> {
    let mut holders = HashMap::new();
    for worker in &status.workers {
        let on_all_tiers = holders.entry(Tier::split(worker.worker).0).or_default();
        *on_all_tiers = worker.held_blocks.max(*on_all_tiers);
    }
    holders
}
