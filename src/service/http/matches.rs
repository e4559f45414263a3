//! `POST /v1/match`: who holds how much of a prompt, how sure that is, and who should serve it.

use std::cmp::Reverse;

use axum::response::Response;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};

use super::body::{self, Name};
use super::decision::{self, Choice};
use super::lookup::{self, Found, Hashes};
use super::refusal::Refusal;
use crate::event::Worker;
use crate::index::Matches;
use crate::service::doubt::{Doubts, Exactness};
use crate::service::indexer::Indexer;
use crate::service::models::Model;
use crate::service::publisher;
use crate::service::tier::Tier;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask<'a> {
    #[serde(borrow)]
    model_name: Name<'a>,
    routing_group: Option<Name<'a>>,
    tenant_id: Option<Name<'a>>,
    token_ids: Option<Vec<u32>>,
    lora_name: Option<Name<'a>>,
    cache_salt: Option<Name<'a>>,
    block_hashes: Option<Hashes>,
    /// How many matches to return, the best first; all if it is missing.
    k: Option<usize>,
    /// The workers that may be in the answer, as instance and rank; all if it is missing.
    workers: Option<Vec<(u64, u32)>>,
    /// How to choose a worker; if it is missing, none is chosen.
    route: Option<decision::Ask>,
}

#[derive(Serialize)]
struct Answer {
    block_size: u32,
    /// Full blocks of the prompt.
    blocks: usize,
    /// How exact the answer is: the least exact of the candidates decides.
    exactness: Exactness,
    /// The deepest first.
    matches: Vec<Match>,
    /// Candidates that are not exact, whether they match or not.
    degraded: Vec<(u64, u32)>,
    /// The watermark of each shard.
    watermarks: Vec<Watermark>,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<Choice>,
}

#[derive(Serialize)]
struct Match {
    instance_id: u64,
    dp_rank: u32,
    /// Leading blocks of the prompt that it has on each tier or a faster one.
    gpu: u32,
    cpu: u32,
    disk: u32,
    exactness: Exactness,
    #[serde(skip_serializing_if = "none")]
    reasons: Doubts,
    /// The state of its publisher, and how old the last batch was when it was applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<publisher::State>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lag_seconds: Option<f64>,
}

#[derive(Serialize)]
struct Watermark {
    events: u64,
    generation: u64,
    published_seconds_ago: f64,
}

pub(super) fn post(indexer: &Indexer, body: &[u8]) -> Result<Response, Refusal> {
    let _timer = indexer.metrics().answers.start_timer();
    let ask: Ask = body::parse(body)?;
    check_length(indexer, "workers", ask.workers.as_ref().map_or(0, Vec::len))?;
    check_length(indexer, "loads", ask.route.as_ref().map_or(0, decision::Ask::loads))?;
    let model = lookup::model(indexer, &ask.model_name, ask.routing_group.as_ref(), ask.tenant_id.as_ref())?;
    let model = match model {
        Found::Model(model) => model,
        Found::Removed { block_size } => return nothing(indexer, &ask, block_size),
    };
    let (prompts, tokens) = prompt(indexer, &model, &ask)?;
    lookup::look_up(indexer, &model, &prompts, |matches| {
        let candidates = Candidates::new(ask.workers.as_deref());
        let mut doubts = model.doubts_about(&matches[0]);
        doubts.retain(|&(worker, _)| candidates.has(worker));
        let found = found(&model, matches, &candidates, &doubts, ask.k);
        let request = decision::Prompt { hashes: &prompts[0].0, tokens, matches };
        let choice = |ask| decision::choose(&model, ask, &request, candidates.0.as_deref());
        let watermarks = matches[0].watermarks().map(|watermark| Watermark {
            events: watermark.events,
            generation: watermark.generation,
            published_seconds_ago: watermark.published.elapsed().as_secs_f64(),
        });
        let answer = Answer {
            block_size: model.block_size(),
            blocks: prompts.iter().map(|prompt| prompt.0.len()).max().unwrap_or(0),
            exactness: doubts.iter().map(|(_, doubts)| doubts.exactness()).max().unwrap_or_default(),
            degraded: doubts.iter().map(|(worker, _)| (worker.id, worker.dp_rank)).collect(),
            watermarks: watermarks.collect(),
            route: ask.route.as_ref().map(choice).transpose()?,
            matches: found,
        };
        let room = 256 + 160 * answer.matches.len();
        Ok(body::json(StatusCode::OK, &answer, room))
    })
}

/// Refuses a list of more workers than a model may have.
fn check_length(indexer: &Indexer, field: &str, workers: usize) -> Result<(), Refusal> {
    let most = indexer.models().most_workers();
    if workers <= most {
        return Ok(());
    }
    Err(Refusal::bad(format!("{field} names {workers} workers; a model has at most {most} (max_workers)")))
}

/// Answers that nobody holds anything of the prompt.
fn nothing(indexer: &Indexer, ask: &Ask<'_>, block_size: u32) -> Result<Response, Refusal> {
    let blocks = match given(indexer, ask)? {
        Given::Tokens(tokens) => tokens.len() / block_size as usize,
        Given::Hashes(hashes) => hashes.0.len(),
    };
    if ask.route.is_some() {
        return Err(Refusal::bad("no worker can be chosen: all engines of the model have left"));
    }
    let answer = Answer {
        block_size,
        blocks,
        exactness: Exactness::default(),
        matches: Vec::new(),
        degraded: Vec::new(),
        watermarks: Vec::new(),
        route: None,
    };
    Ok(body::json(StatusCode::OK, &answer, 256))
}

/// The prompt, as the client gives it.
enum Given<'a> {
    Tokens(&'a [u32]),
    Hashes(&'a Hashes),
}

fn given<'a>(indexer: &Indexer, ask: &'a Ask<'_>) -> Result<Given<'a>, Refusal> {
    match (&ask.token_ids, &ask.block_hashes) {
        (Some(tokens), None) => Ok(Given::Tokens(tokens)),
        (None, Some(hashes)) if ask.lora_name.is_none() && ask.cache_salt.is_none() => {
            lookup::accepts_hashes(indexer)?;
            Ok(Given::Hashes(hashes))
        }
        (None, Some(_)) => {
            Err(Refusal::bad("lora_name and cache_salt are part of the hashes; leave them out with block_hashes"))
        }
        _ => Err(Refusal::bad("give either token_ids or block_hashes")),
    }
}

/// Returns the hashes of the prompt's blocks, for every lookahead that engines have, and its length in tokens.
fn prompt(indexer: &Indexer, model: &Model, ask: &Ask<'_>) -> Result<(Vec<Hashes>, u64), Refusal> {
    match given(indexer, ask)? {
        Given::Tokens(tokens) => {
            let hashes = lookup::hash(model, tokens, ask.lora_name.as_ref(), ask.cache_salt.as_ref())?;
            Ok((hashes, tokens.len() as u64))
        }
        Given::Hashes(given) => {
            let mut hashes = Hashes::default();
            hashes.0.extend_from_slice(&given.0);
            let tokens = hashes.0.len() as u64 * u64::from(model.block_size());
            Ok((vec![hashes], tokens))
        }
    }
}

/// The workers that may be in an answer, sorted; `None` for all.
struct Candidates(Option<Vec<Worker>>);

impl Candidates {
    fn new(named: Option<&[(u64, u32)]>) -> Self {
        let mut named: Option<Vec<_>> =
            named.map(|named| named.iter().map(|&(instance, dp_rank)| Worker::new(instance, dp_rank)).collect());
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

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn none(doubts: &Doubts) -> bool {
    doubts.is_empty()
}

/// Returns the best `k` of the candidates, with what is known of them. The doubts are sorted by worker.
fn found(
    model: &Model,
    matches: &[Matches],
    candidates: &Candidates,
    doubts: &[(Worker, Doubts)],
    k: Option<usize>,
) -> Vec<Match> {
    let mut rows: Vec<_> = matches
        .iter()
        .flat_map(Matches::iter)
        .map(|(worker, depth)| (Tier::split(worker), depth))
        .filter(|&((worker, _), _)| candidates.has(worker))
        .collect();
    rows.sort_unstable();
    let mut publishers: Vec<_> = rows
        .chunk_by(|a, b| a.0.0 == b.0.0)
        .map(|rows| {
            let down_to = |tier| rows.iter().filter(|row| row.0.1 <= tier).map(|row| row.1).max().unwrap_or(0);
            (Reverse(Tier::ALL.map(down_to)), rows[0].0.0)
        })
        .collect();
    publishers.sort_unstable();
    publishers.truncate(k.unwrap_or(usize::MAX));
    let described = publishers.into_iter().map(|(Reverse([gpu, cpu, disk]), worker)| {
        let publisher = model.publishers().speaker(worker);
        let doubts_at = doubts.binary_search_by_key(&worker, |&(other, _)| other);
        let reasons = doubts_at.map_or(Doubts::NONE, |at| doubts[at].1);
        Match {
            instance_id: worker.id,
            dp_rank: worker.dp_rank,
            gpu,
            cpu,
            disk,
            exactness: reasons.exactness(),
            reasons,
            state: publisher.as_ref().map(|publisher| publisher.state_with(reasons)),
            lag_seconds: publisher.map(|publisher| publisher.lag().as_secs_f64()),
        }
    });
    described.collect()
}
