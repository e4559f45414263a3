//! `POST /events`: events of engines that do not publish over ZMQ, in the format of Dynamo's router.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderMap};
use serde::{Deserialize, Serialize};

use super::body::{self, Whole};
use super::lookup;
use super::refusal::Refusal;
use super::shares::Shares;
use crate::event::Worker;
use crate::index::Rejection;
use crate::service::indexer::Indexer;
use crate::service::ingest::{self, DynamoEvent};
use crate::service::models::{Key, Model};
use crate::service::publisher::{Copies, Publisher, Skip};
use crate::service::tier::{MAX_RANK, Tier};

#[derive(Deserialize)]
struct Told {
    model_name: String,
    routing_group: Option<String>,
    tenant_id: Option<String>,
    block_size: u32,
    events: Vec<DynamoEvent>,
}

/// What became of the events.
#[derive(Default, Serialize)]
struct Outcome {
    /// Events that are visible in the index now.
    applied: u64,
    /// Blocks named by the events that were handed to the index.
    blocks: u64,
    /// Events that were skipped, by reason.
    skipped: BTreeMap<&'static str, u64>,
    /// Events that the index rejected, by reason.
    rejected: BTreeMap<&'static str, u64>,
}

/// Answers when everything that was applied is visible.
pub(super) async fn post(
    State(indexer): State<Arc<Indexer>>,
    State(shares): State<Arc<Shares>>,
    headers: HeaderMap,
    body: Whole,
) -> Result<Response, Refusal> {
    let form = headers.get(CONTENT_TYPE).map(|form| form.as_bytes().to_ascii_lowercase());
    let packed =
        form.is_some_and(|form| form.starts_with(b"application/msgpack") || form.starts_with(b"application/x-msgpack"));
    let outcome = shares.change(move || {
        let told: Told = if packed { body::unpack(&body)? } else { body::parse(&body)? };
        apply(&indexer, told)
    });
    Ok(body::json(StatusCode::OK, &outcome.await??, 256))
}

fn apply(indexer: &Indexer, told: Told) -> Result<Outcome, Refusal> {
    let Told { model_name, routing_group, tenant_id, block_size, events } = told;
    lookup::accepts_hashes(indexer)?;
    let group = routing_group.unwrap_or_else(|| Key::DEFAULT_GROUP.to_owned());
    let tenant = Key::tenant(&tenant_id.unwrap_or_default()).to_owned();
    let key = Key { model: model_name, group, tenant };
    let mut outcome = Outcome::default();
    let mut by_worker: BTreeMap<Worker, Vec<DynamoEvent>> = BTreeMap::new();
    for event in events {
        if event.event.dp_rank > MAX_RANK {
            *outcome.skipped.entry(Skip::Rank.name()).or_default() += 1;
        } else {
            by_worker.entry(Worker::new(event.worker_id, event.event.dp_rank)).or_default().push(event);
        }
    }
    let (model, publishers) = publishers(indexer, &key, block_size, &by_worker.keys())?;
    let before = rejections(&model, &by_worker);
    for (publisher, events) in publishers.into_iter().zip(by_worker.values()) {
        let skipped = skips(&publisher);
        let applied = ingest::dynamo_events(&model, &publisher, events)?;
        outcome.applied += applied.events;
        outcome.blocks += applied.blocks;
        add(&mut outcome.skipped, Skip::ALL.map(Skip::name), skipped, skips(&publisher));
    }
    model.index().flush()?;
    let after = rejections(&model, &by_worker);
    add(&mut outcome.rejected, Rejection::ALL.map(Rejection::name), before, after);
    outcome.applied = outcome.applied.saturating_sub(outcome.rejected.values().sum());
    Ok(outcome)
}

/// Returns the model and the publishers of these workers, and creates those that do not exist yet.
fn publishers<'w>(
    indexer: &Indexer,
    key: &Key,
    block_size: u32,
    workers: &(impl Iterator<Item = &'w Worker> + Clone),
) -> Result<(Arc<Model>, Vec<Arc<Publisher>>), Refusal> {
    loop {
        let model = indexer.models().get_or_add(key, block_size)?;
        let publishers = workers.clone().map(|&worker| match ingest::enter(&model, worker, None, Copies::Single)? {
            Some(publisher) => Ok(publisher),
            None => Err(Refusal::new(StatusCode::CONFLICT, format!("too many publishers speak for worker {worker}"))),
        });
        let publishers = publishers.collect::<Result<Vec<_>, Refusal>>()?;
        // A model without publishers may have been removed in the meantime.
        let known = indexer.models().get(&key.model, &key.group, &key.tenant);
        if publishers.is_empty() || known.is_some_and(|known| Arc::ptr_eq(&known, &model)) {
            return Ok((model, publishers));
        }
    }
}

fn skips(publisher: &Publisher) -> [u64; Skip::ALL.len()] {
    Skip::ALL.map(|why| publisher.skipped(why))
}

/// Returns how many events of these workers the index has rejected so far, by reason.
fn rejections<T>(model: &Model, workers: &BTreeMap<Worker, T>) -> [u64; Rejection::ALL.len()] {
    let status = model.index().status();
    let ours = status.workers.iter().filter(|worker| workers.contains_key(&Tier::split(worker.worker).0));
    let strangers = status.shards.iter().map(|shard| shard.rejected_strangers);
    ours.map(|worker| worker.rejected)
        .chain(strangers)
        .fold(Default::default(), |sum: [u64; _], rejected| std::array::from_fn(|why| sum[why] + rejected[why]))
}

/// Adds the differences between two readings of counters.
fn add<const N: usize>(
    sum: &mut BTreeMap<&'static str, u64>,
    names: [&'static str; N],
    before: [u64; N],
    after: [u64; N],
) {
    for ((name, before), after) in names.into_iter().zip(before).zip(after) {
        if after > before {
            *sum.entry(name).or_default() += after - before;
        }
    }
}
