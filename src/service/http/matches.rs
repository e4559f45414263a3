//! `POST /v1/match`: who holds how much of a prompt, how sure that is, and who should serve it.

use std::cmp::Reverse;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};

use super::body::{self, Name};
use super::query::{self, Hashes};
use super::refusal::Refusal;
use super::route::{self, Choice};
use crate::event::Worker;
use crate::index::Matches;
use crate::service::indexer::Indexer;
use crate::service::model::Model;
use crate::service::rank::State as Standing;
use crate::service::tier::Tier;

#[derive(Deserialize)]
struct Ask<'a> {
    #[serde(borrow)]
    model_name: Name<'a>,
    routing_group: Option<Name<'a>>,
    tenant_id: Option<Name<'a>>,
    token_ids: Option<Vec<u32>>,
    lora_name: Option<Name<'a>>,
    cache_salt: Option<Name<'a>>,
    block_hashes: Option<Hashes>,
    /// The best so many; all, if it is not given.
    k: Option<usize>,
    /// Who may be in the answer, as instance and rank; everybody, if it is not given.
    workers: Option<Vec<(u64, u32)>>,
    /// Whether, and how, one is to be chosen.
    route: Option<route::Ask>,
}

#[derive(Serialize)]
struct Answer {
    block_size: u32,
    /// Full blocks of the prompt.
    blocks: usize,
    /// Whether nothing is missing of the candidates.
    exactness: Exactness,
    /// The deepest first.
    matches: Vec<Match>,
    /// Candidates of which something is missing, whether they match or not.
    degraded: Vec<(u64, u32)>,
    /// What it is as of, by shard.
    watermarks: Vec<Watermark>,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<Choice>,
}

#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
enum Exactness {
    Exact,
    Degraded,
}

impl Exactness {
    fn of(degraded: bool) -> Self {
        if degraded { Self::Degraded } else { Self::Exact }
    }
}

#[derive(Serialize)]
struct Match {
    instance_id: u64,
    dp_rank: u32,
    /// Blocks of the prompt that it has, down to each tier.
    gpu: u32,
    cpu: u32,
    disk: u32,
    exactness: Exactness,
    /// How it stands with its publisher, and how old the last batch was when it was applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<Standing>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lag_seconds: Option<f64>,
}

#[derive(Serialize)]
struct Watermark {
    events: u64,
    generation: u64,
    published_seconds_ago: f64,
}

pub(super) async fn post(State(indexer): State<Arc<Indexer>>, request: Request) -> Result<Response, Refusal> {
    let body = body::read(indexer.config(), request).await?;
    let _timer = indexer.metrics().answers.start_timer();
    let ask: Ask = body::parse(&body)?;
    let model = query::model(&indexer, &ask.model_name, ask.routing_group.as_ref(), ask.tenant_id.as_ref())?;
    let (hashes, tokens) = prompt(&model, &ask)?;
    query::look_up(&indexer, &model, &hashes.0, |matches| {
        let candidates = Candidates::new(ask.workers.as_deref());
        let degraded: Vec<_> = model.ranks().degraded().into_iter().filter(|&worker| candidates.has(worker)).collect();
        let found = found(&model, matches, &candidates, &degraded, ask.k);
        let request = route::Prompt { hashes: &hashes.0, tokens, matches };
        let choice = |ask| route::choose(&model, ask, &request, candidates.0.as_deref());
        let watermarks = matches.watermarks().map(|watermark| Watermark {
            events: watermark.events,
            generation: watermark.generation,
            published_seconds_ago: watermark.published.elapsed().as_secs_f64(),
        });
        let answer = Answer {
            block_size: model.block_size(),
            blocks: hashes.0.len(),
            exactness: Exactness::of(!degraded.is_empty()),
            degraded: degraded.iter().map(|worker| (worker.id, worker.dp_rank)).collect(),
            watermarks: watermarks.collect(),
            route: ask.route.as_ref().map(choice).transpose()?,
            matches: found,
        };
        let room = 256 + 160 * answer.matches.len();
        Ok(body::json(StatusCode::OK, &answer, room))
    })
}

/// The hashes of the prompt's blocks, and its length in tokens.
fn prompt(model: &Model, ask: &Ask<'_>) -> Result<(Hashes, u64), Refusal> {
    let mut hashes = Hashes::default();
    match (&ask.token_ids, &ask.block_hashes) {
        (Some(tokens), None) => {
            query::hash(model, tokens, ask.lora_name.as_ref(), ask.cache_salt.as_ref(), &mut hashes);
            Ok((hashes, tokens.len() as u64))
        }
        (None, Some(given)) if ask.lora_name.is_none() && ask.cache_salt.is_none() => {
            hashes.0.extend_from_slice(&given.0);
            let tokens = hashes.0.len() as u64 * u64::from(model.block_size());
            Ok((hashes, tokens))
        }
        (None, Some(_)) => {
            Err(Refusal::bad("lora_name and cache_salt go into the hashes; with block_hashes they must not be given"))
        }
        _ => Err(Refusal::bad("give either token_ids or block_hashes")),
    }
}

/// Who may be in an answer: sorted, or everybody.
struct Candidates(Option<Vec<Worker>>);

impl Candidates {
    fn new(named: Option<&[(u64, u32)]>) -> Self {
        let mut named: Option<Vec<_>> =
            named.map(|named| named.iter().map(|&(instance, rank)| Worker::new(instance, rank)).collect());
        if let Some(named) = &mut named {
            named.sort_unstable();
            named.dedup();
        }
        Self(named)
    }

    fn has(&self, worker: Worker) -> bool {
        self.0.as_ref().is_none_or(|named| named.binary_search(&worker).is_ok())
    }
}

/// The best `k` of the candidates, with what is known of them.
fn found(
    model: &Model,
    matches: &Matches,
    candidates: &Candidates,
    degraded: &[Worker],
    k: Option<usize>,
) -> Vec<Match> {
    let mut rows: Vec<_> = matches
        .iter()
        .map(|(worker, depth)| (Tier::split(worker), depth))
        .filter(|&((worker, _), _)| candidates.has(worker))
        .collect();
    rows.sort_unstable();
    let mut ranks: Vec<_> = rows
        .chunk_by(|a, b| a.0.0 == b.0.0)
        .map(|rows| {
            let down_to = |tier| rows.iter().filter(|row| row.0.1 <= tier).map(|row| row.1).max().unwrap_or(0);
            (Reverse(Tier::ALL.map(down_to)), rows[0].0.0)
        })
        .collect();
    ranks.sort_unstable();
    ranks.truncate(k.unwrap_or(usize::MAX));
    let described = ranks.into_iter().map(|(Reverse([gpu, cpu, disk]), worker)| {
        let publisher = model.ranks().speaker(worker);
        Match {
            instance_id: worker.id,
            dp_rank: worker.dp_rank,
            gpu,
            cpu,
            disk,
            exactness: Exactness::of(degraded.contains(&worker)),
            state: publisher.as_ref().map(|rank| rank.state()),
            lag_seconds: publisher.map(|rank| rank.lag().as_secs_f64()),
        }
    });
    described.collect()
}
