//! `/register`, `/unregister` and `/workers`: the engines that are listened to, and their state.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};

use super::body::{self, Whole};
use super::refusal::Refusal;
use super::shares::Shares;
use crate::event::Worker;
use crate::service::doubt::{Doubts, Exactness};
use crate::service::engines::{Engine, RegisterError, Selection};
use crate::service::indexer::Indexer;
use crate::service::models::{Key, Model};
use crate::service::publisher::{self, Count, Publisher, Skip};

pub(super) async fn register(
    State(indexer): State<Arc<Indexer>>,
    State(shares): State<Arc<Shares>>,
    body: Whole,
) -> Result<Response, Refusal> {
    let work = move || indexer.register(body::parse::<Engine>(&body)?).map_err(Refusal::from);
    shares.change(work).await??;
    Ok(body::ok(StatusCode::CREATED))
}

impl From<RegisterError> for Refusal {
    fn from(error: RegisterError) -> Self {
        match error {
            RegisterError::Model(error) => error.into(),
            RegisterError::Engine(_) => Self::bad(error.to_string()),
            RegisterError::Taken { .. } | RegisterError::Copies { .. } => {
                Self::new(StatusCode::CONFLICT, error.to_string())
            }
            RegisterError::NoRoom(_) | RegisterError::TooMany { .. } => {
                Self::new(StatusCode::INSUFFICIENT_STORAGE, error.to_string())
            }
            RegisterError::Closed(_) => Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unregister {
    instance_id: u64,
    model_name: String,
    routing_group: Option<String>,
    tenant_id: Option<String>,
    dp_rank: Option<u32>,
}

pub(super) async fn unregister(
    State(indexer): State<Arc<Indexer>>,
    State(shares): State<Arc<Shares>>,
    body: Whole,
) -> Result<Response, Refusal> {
    let work = move || {
        let ask: Unregister = body::parse(&body)?;
        let [group, tenant] = [&ask.routing_group, &ask.tenant_id].map(|name| name.as_deref().unwrap_or(""));
        Key::check_parts(&ask.model_name, group, tenant)?;
        Ok::<_, Refusal>(indexer.unregister(Selection {
            instance: ask.instance_id,
            model: &ask.model_name,
            group: ask.routing_group.as_deref(),
            tenant: Key::tenant(ask.tenant_id.as_deref().unwrap_or("")),
            dp_rank: ask.dp_rank,
        }))
    };
    let left = shares.change(work).await??;
    if left == 0 { Err(Refusal::not_found("no such worker is known")) } else { Ok(body::ok(StatusCode::OK)) }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    model_name: Option<String>,
    routing_group: Option<String>,
    tenant_id: Option<String>,
}

impl Filter {
    fn has(&self, model: &Model) -> bool {
        let key = model.key();
        let is = |wanted: Option<&str>, name: &str| wanted.is_none_or(|wanted| wanted == name);
        is(self.model_name.as_deref(), &key.model)
            && is(self.routing_group.as_deref(), &key.group)
            && is(self.tenant_id.as_deref().map(Key::tenant), &key.tenant)
    }
}

pub(super) async fn list(
    State(indexer): State<Arc<Indexer>>,
    State(shares): State<Arc<Shares>>,
    filter: Result<Query<Filter>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(filter) = filter.map_err(|error| Refusal::bad(body::cut(error.body_text())))?;
    // It waits for nobody, but a long list takes long.
    shares.collect(move || listed(&indexer, &filter)).await
}

fn listed(indexer: &Indexer, filter: &Filter) -> Response {
    let models = indexer.models().all();
    let known = models.iter().filter(|model| filter.has(model));
    let known: Vec<_> = known.map(|model| (model, model.publishers().all(), model.doubts())).collect();
    let instances = known.iter().flat_map(|(model, publishers, doubts)| {
        let instances = publishers.chunk_by(|a, b| a.worker().id == b.worker().id);
        instances.map(|publishers| Instance::new(model, publishers, doubts))
    });
    body::json(StatusCode::OK, &instances.collect::<Vec<_>>(), 1024)
}

#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "the names are those of the API")]
struct Instance<'a> {
    instance_id: u64,
    source: &'static str,
    status: publisher::State,
    model_name: &'a str,
    routing_group: &'a str,
    tenant_id: &'a str,
    block_size: u32,
    endpoints: BTreeMap<u32, &'a str>,
    listeners: BTreeMap<u32, Listener<'a>>,
}

#[derive(Serialize)]
struct Listener<'a> {
    endpoint: Option<&'a str>,
    status: publisher::State,
    /// How exact answers about its workers are, and why they are not more exact.
    exactness: Exactness,
    reasons: Doubts,
    /// The ranks that its batches have named; the registered one before the first batch.
    dp_ranks: Vec<u32>,
    last_sequence: Option<u64>,
    lag_seconds: f64,
    seen_seconds_ago: Option<f64>,
    /// Why there is no connection, or why the last replay failed.
    last_error: Option<String>,
    counts: BTreeMap<&'static str, u64>,
    skipped: BTreeMap<&'static str, u64>,
    /// Further publishers of the same worker.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    others: Vec<Self>,
}

impl<'a> Instance<'a> {
    /// Describes one instance, given its publishers.
    fn new(model: &'a Model, publishers: &'a [Arc<Publisher>], doubts: &[(Worker, Doubts)]) -> Self {
        let key = model.key();
        let by_worker = publishers.chunk_by(|a, b| a.worker() == b.worker());
        let listeners: BTreeMap<_, _> =
            by_worker.map(|publishers| (publishers[0].worker().dp_rank, Listener::new(publishers, doubts))).collect();
        let endpoints = listeners.iter().filter_map(|(&dp_rank, listener)| Some((dp_rank, listener.endpoint?)));
        let all = listeners.values().flat_map(|listener| listener.others.iter().chain([listener]));
        Self {
            instance_id: publishers[0].worker().id,
            source: publishers[0].source(),
            status: all.map(|listener| listener.status).max().expect("an instance has a publisher"),
            model_name: &key.model,
            routing_group: &key.group,
            tenant_id: &key.tenant,
            block_size: model.block_size(),
            endpoints: endpoints.collect(),
            listeners,
        }
    }
}

impl<'a> Listener<'a> {
    /// Describes the publishers of one worker, given the doubts about all workers of the model.
    fn new(publishers: &'a [Arc<Publisher>], doubts: &[(Worker, Doubts)]) -> Self {
        let (publisher, others) = publishers.split_first().expect("a worker has a publisher");
        let ago = |at: SystemTime| SystemTime::now().duration_since(at).unwrap_or(Duration::ZERO).as_secs_f64();
        let skipped = Skip::ALL.iter().map(|&why| (why.name(), publisher.skipped(why)));
        let reasons = publisher.doubts_among(doubts);
        Self {
            endpoint: publisher.endpoint(),
            status: publisher.state_with(reasons),
            exactness: reasons.exactness(),
            reasons,
            dp_ranks: publisher.workers().iter().map(|worker| worker.dp_rank).collect(),
            last_sequence: publisher.last_sequence(),
            lag_seconds: publisher.lag().as_secs_f64(),
            seen_seconds_ago: publisher.last_seen().map(ago),
            last_error: publisher.last_error(),
            counts: Count::ALL.iter().map(|&what| (what.name(), publisher.count(what))).collect(),
            skipped: skipped.filter(|&(_, times)| times > 0).collect(),
            others: others.iter().map(|other| Self::new(std::slice::from_ref(other), doubts)).collect(),
        }
    }
}
