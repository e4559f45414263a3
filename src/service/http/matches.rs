//! `POST /v1/match`: who holds how much of a prompt, how sure that is, and who should serve it.

use std::cmp::Reverse;

use axum::response::Response;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};

use super::body::{self, Name};
use super::decision::{self, Choice};
use super::lookup::{self, Hashes};
use super::refusal::Refusal;
use crate::event::Worker;
use crate::index::Matches;
use crate::service::doubt::{Doubts, Exactness};
use crate::service::indexer::Indexer;
use crate::service::models::Model;
use crate::service::publisher;
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
    let model = lookup::model(indexer, &ask.model_name, ask.routing_group.as_ref(), ask.tenant_id.as_ref())?;
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

/// Returns the hashes of the prompt's blocks, for every lookahead that engines have, and its length in tokens.
fn prompt(indexer: &Indexer, model: &Model, ask: &Ask<'_>) -> Result<(Vec<Hashes>, u64), Refusal> {
    match (&ask.token_ids, &ask.block_hashes) {
        (Some(tokens), None) => {
            let hashes = lookup::hash(model, tokens, ask.lora_name.as_ref(), ask.cache_salt.as_ref());
            Ok((hashes, tokens.len() as u64))
        }
        (None, Some(given)) if ask.lora_name.is_none() && ask.cache_salt.is_none() => {
            lookup::accepts_hashes(indexer)?;
            let mut hashes = Hashes::default();
            hashes.0.extend_from_slice(&given.0);
            let tokens = hashes.0.len() as u64 * u64::from(model.block_size());
            Ok((vec![hashes], tokens))
        }
        (None, Some(_)) => {
            Err(Refusal::bad("lora_name and cache_salt are part of the hashes; leave them out with block_hashes"))
        }
        _ => Err(Refusal::bad("give either token_ids or block_hashes")),
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

/// Returns the best `k` of the candidates, with what is known of them.
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
        let reasons = doubts.iter().find(|(other, _)| *other == worker).map_or(Doubts::NONE, |&(_, doubts)| doubts);
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
