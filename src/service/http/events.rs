//! `POST /events`: events of engines that do not publish over ZMQ, in the format of Dynamo's router.

use std::collections::{BTreeMap, HashSet};
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
use crate::index::{Closed, Rejection};
use crate::service::indexer::Indexer;
use crate::service::ingest::{self, DynamoEvent, StorageTier};
use crate::service::models::{Key, Model, NoRoom};
use crate::service::publisher::{Publisher, Skip};
use crate::service::tier::{MAX_RANK, Tier};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
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
    indexer.models().check(&key, block_size)?;
    let mut outcome = Outcome::default();
    let events = usable(indexer, &key, events, &mut outcome);
    while !events.is_empty() {
        let model = indexer.models().get_or_add(&key, block_size)?;
        match tell(&model, &events) {
            Ok(told) => return Ok(outcome.and(told)),
            // The model was removed meanwhile, with what it was told, because its last engine left.
            Err(Untold::Closed(_)) if !indexer.models().has(&model) => {}
            Err(Untold::Closed(closed)) => return Err(closed.into()),
            Err(Untold::NoSeat(worker)) => {
                return Err(Refusal::new(
                    StatusCode::CONFLICT,
                    format!("too many publishers speak for worker {worker}"),
                ));
            }
        }
    }
    Ok(outcome)
}

/// Sorts events by worker, and skips those that make nobody known: of ranks that are too high, and of workers that are
/// not known yet and say only what is not indexed.
fn usable(indexer: &Indexer, key: &Key, mut events: Vec<DynamoEvent>, outcome: &mut Outcome) -> Vec<DynamoEvent> {
    let model = indexer.models().get(&key.model, &key.group, &key.tenant);
    let is_known = |worker| model.as_ref().is_some_and(|model| model.publishers().over_http(worker).is_some());
    // Stable, so that every worker's events stay in order.
    events.sort_by_key(DynamoEvent::worker);
    let mut skipped = HashSet::new();
    for events in events.chunk_by(|a, b| a.worker() == b.worker()) {
        let worker = events[0].worker();
        if worker.dp_rank > MAX_RANK {
            outcome.skip(Skip::Rank, events.len() as u64);
        } else if events.iter().all(DynamoEvent::is_shared) && !is_known(worker) {
            outcome.skip(Skip::Shared, events.len() as u64);
        } else {
            continue;
        }
        skipped.insert(worker);
    }
    events.retain(|event| !skipped.contains(&event.worker()));
    events
}

/// Why a model was not told of events.
enum Untold {
    Closed(Closed),
    /// Too many publishers speak for this worker.
    NoSeat(Worker),
}

impl From<Closed> for Untold {
    fn from(closed: Closed) -> Self {
        Self::Closed(closed)
    }
}

/// Tells a model of events, which are sorted by worker, and returns when they are visible. The cost is in proportion to
/// the events and their workers, however many workers there are.
fn tell(model: &Model, events: &[DynamoEvent]) -> Result<Outcome, Untold> {
    let by_worker = || events.chunk_by(|a, b| a.worker() == b.worker());
    let workers: Vec<_> = by_worker().map(|events| events[0].worker()).collect();
    let mut outcome = Outcome::default();
    let entered = ingest::enter_over_http(model, &workers)?;
    if let Some(place) = entered.iter().position(|entered| matches!(entered, Err(NoRoom::Publishers))) {
        return Err(Untold::NoSeat(workers[place]));
    }
    let mut rest = Vec::new();
    for (entered, events) in entered.into_iter().zip(by_worker()) {
        match entered {
            Ok(publisher) if reach_tiers(&publisher, events) => {
                outcome = outcome.and(tell_one_by_one(model, &publisher, events)?);
            }
            Ok(publisher) => rest.push((publisher, events)),
            Err(NoRoom::Memory) => outcome.skip(Skip::Budget, events.len() as u64),
            Err(_) => outcome.skip(Skip::Workers, events.len() as u64),
        }
    }
    let workers: Vec<_> = rest.iter().map(|(publisher, _)| publisher.worker()).collect();
    let before = rejections(model, &workers)?;
    for (publisher, events) in rest {
        outcome = outcome.and(tell_worker(model, publisher, events)?);
    }
    model.index().flush()?;
    let mut told = Outcome::default();
    add(&mut told.rejected, Rejection::ALL.map(Rejection::name), before, rejections(model, &workers)?);
    outcome.applied -= told.rejected.values().sum::<u64>().min(outcome.applied);
    Ok(outcome.and(told))
}

/// Whether an event may reach several of the index's workers, each of which may reject it.
fn reach_tiers(publisher: &Publisher, events: &[DynamoEvent]) -> bool {
    let records = publisher.records();
    let record = records.workers.get(&publisher.worker().dp_rank);
    events.iter().any(|event| event.storage_tier != StorageTier::Device)
        || record.is_some_and(|record| record.tier_map.is_some())
}

/// Tells a worker of its events one by one, so that each that is rejected counts once, under the first of the reasons.
/// The cost is a message to the writer and back for each event.
fn tell_one_by_one(model: &Model, publisher: &Arc<Publisher>, events: &[DynamoEvent]) -> Result<Outcome, Closed> {
    let workers = [publisher.worker()];
    let mut outcome = Outcome::default();
    let mut before = rejections(model, &workers)?;
    for event in events {
        let mut told = tell_worker(model, Arc::clone(publisher), std::slice::from_ref(event))?;
        let after = rejections(model, &workers)?;
        if let Some(why) = Rejection::ALL.into_iter().find(|&why| after[why as usize] > before[why as usize]) {
            told.applied = 0;
            told.rejected.insert(why.name(), 1);
        }
        outcome = outcome.and(told);
        before = after;
    }
    Ok(outcome)
}

fn tell_worker(model: &Model, mut publisher: Arc<Publisher>, events: &[DynamoEvent]) -> Result<Outcome, Closed> {
    loop {
        let skipped = skips(&publisher);
        match ingest::dynamo_events(model, &publisher, events) {
            Ok(applied) => {
                let mut outcome = Outcome { applied: applied.events, blocks: applied.blocks, ..Outcome::default() };
                add(&mut outcome.skipped, Skip::ALL.map(Skip::name), skipped, skips(&publisher));
                return Ok(outcome);
            }
            // It was unregistered a moment ago, and speaks again.
            Err(closed) => match ingest::enter_over_http(model, &[publisher.worker()])?.remove(0) {
                Ok(other) if !Arc::ptr_eq(&other, &publisher) => publisher = other,
                _ => return Err(closed),
            },
        }
    }
}

impl Outcome {
    fn skip(&mut self, why: Skip, events: u64) {
        *self.skipped.entry(why.name()).or_default() += events;
    }

    /// Adds another outcome.
    fn and(mut self, other: Self) -> Self {
        self.applied += other.applied;
        self.blocks += other.blocks;
        for (sum, more) in [(&mut self.skipped, other.skipped), (&mut self.rejected, other.rejected)] {
            for (why, times) in more {
                *sum.entry(why).or_default() += times;
            }
        }
        self
    }
}

fn skips(publisher: &Publisher) -> [u64; Skip::ALL.len()] {
    Skip::ALL.map(|why| publisher.skipped(why))
}

/// Returns how many events of these workers the index has rejected so far, by reason.
fn rejections(model: &Model, workers: &[Worker]) -> Result<[u64; Rejection::ALL.len()], Closed> {
    let workers: Vec<_> = workers.iter().flat_map(|&worker| Tier::ALL.map(|tier| tier.worker(worker))).collect();
    let status = model.index().status_of(&workers)?;
    let sum = |sum: [u64; _], rejected: [u64; _]| std::array::from_fn(|why| sum[why] + rejected[why]);
    Ok(status.iter().map(|worker| worker.rejected).fold(Default::default(), sum))
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
