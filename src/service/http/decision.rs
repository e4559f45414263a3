//! The routing decision of `POST /v1/match`, from the answer and from loads that the caller knows.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::{Deserialize, Serialize};

use super::refusal::Refusal;
use crate::event::Worker;
use crate::index::Matches;
use crate::route::{Considered, Decision, Explanation, Load, Request, Router, policy};
use crate::service::model::Model;
use crate::service::tier::{MAX_RANK, Tier};

/// How one is to be chosen. The service keeps no account of requests in flight: what the caller says is all there is.
#[derive(Deserialize)]
pub(super) struct Ask {
    /// Default `cost`.
    policy: Option<String>,
    /// For policies that keep sessions together.
    session: Option<u64>,
    /// What is in flight; nothing, where it is not said.
    #[serde(default)]
    loads: Vec<InFlight>,
    #[serde(default)]
    explain: bool,
    /// What a block saves on each tier, as a part of computing it: the rest is what it costs to bring it back.
    credits: Option<[f32; Tier::ALL.len()]>,
}

/// Bringing a block back from the host's memory is taken to cost a third of computing it, and from a disk two thirds:
/// more than it mostly does, so that a block on the device is worth a good deal more than one elsewhere.
const CREDITS: [f32; Tier::ALL.len()] = [1.0, 0.7, 0.3];

#[derive(Deserialize)]
struct InFlight {
    instance_id: u64,
    #[serde(default)]
    dp_rank: u32,
    #[serde(default)]
    requests: u32,
    #[serde(default)]
    prefill_tokens: u64,
    #[serde(default)]
    decode_blocks: u64,
    #[serde(default = "yes")]
    available: bool,
}

fn yes() -> bool {
    true
}

/// What is to be routed, and what was found of it in each way of hashing.
pub(super) struct Prompt<'a> {
    pub(super) hashes: &'a [u64],
    pub(super) tokens: u64,
    pub(super) matches: &'a [Matches],
}

/// Who was chosen.
#[derive(Serialize)]
pub(super) struct Choice {
    instance_id: u64,
    dp_rank: u32,
    policy: &'static str,
    /// Blocks of the prompt that it has, on any tier that has a credit.
    held: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<Explained>,
}

#[derive(Serialize)]
struct Explained {
    why: &'static str,
    candidates: Vec<Candidate>,
}

#[derive(Serialize)]
struct Candidate {
    instance_id: u64,
    dp_rank: u32,
    held: u32,
    credit: f32,
    requests: u32,
    prefill_tokens: u64,
    decode_blocks: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<f32>,
}

/// Chooses among `named`, or among all who publish, but nobody whose connection is lost.
pub(super) fn choose(
    model: &Model,
    ask: &Ask,
    prompt: &Prompt<'_>,
    named: Option<&[Worker]>,
) -> Result<Choice, Refusal> {
    let mut router = router(model, ask, named)?;
    let request = Request { blocks: prompt.hashes, tokens: prompt.tokens, session: ask.session, among: None };
    let answers: Vec<_> = prompt.matches.iter().collect();
    let refused = |refusal: crate::route::Refusal| Refusal::bad(format!("nobody can be chosen: {refusal}"));
    let explained = router.explain(&request, &answers, 0).map_err(refused)?;
    let Decision { worker, held, .. } = explained.decision;
    let Explanation { policy, why, candidates, .. } = explained;
    let explanation = || Explained { why, candidates: candidates.iter().map(Candidate::new).collect() };
    let explanation = ask.explain.then(explanation);
    Ok(Choice { instance_id: worker.id, dp_rank: worker.dp_rank, policy, held, explanation })
}

fn router(model: &Model, ask: &Ask, named: Option<&[Worker]>) -> Result<Router, Refusal> {
    /// Another one for every request, so that choices by chance differ.
    static SEED: AtomicU64 = AtomicU64::new(0);

    let name = ask.policy.as_deref().unwrap_or("cost");
    if name == "round-robin" {
        return Err(Refusal::bad(
            "round-robin goes on from the request before, and the service keeps no account of them",
        ));
    }
    let policy = policy::by_name(name).map_err(|error| Refusal::bad(error.to_string()))?;
    let builder = Router::builder().policy(policy).block_size(model.block_size()).seed(SEED.fetch_add(1, Relaxed));
    let credits = ask.credits.unwrap_or(CREDITS);
    if credits.iter().any(|credit| !(0.0..=1.0).contains(credit)) {
        return Err(Refusal::bad("credits are parts of what computing a block costs: give three numbers from 0 to 1"));
    }
    let builder = builder.credits(credits.to_vec()).split_tiers(|of| {
        let (worker, tier) = Tier::split(of);
        (worker, tier as usize)
    });
    let mut router = builder.build().map_err(|error| Refusal::bad(error.to_string()))?;
    // Whoever is known, and whether somebody who speaks for it is connected.
    let mut known: HashMap<Worker, bool> = HashMap::new();
    for publisher in model.publishers().all().iter() {
        publisher.workers().into_iter().for_each(|worker| *known.entry(worker).or_default() |= publisher.is_present());
    }
    let candidates: Vec<_> = match named {
        Some(named) => named.iter().copied().filter(|worker| worker.dp_rank <= MAX_RANK).collect(),
        None => known.keys().copied().collect(),
    };
    for worker in candidates.into_iter().filter(|worker| known.get(worker) != Some(&false)) {
        router.add_worker(worker);
    }
    for of in &ask.loads {
        let worker = Worker::new(of.instance_id, of.dp_rank);
        let InFlight { requests, prefill_tokens, decode_blocks, .. } = *of;
        router.set_load(worker, Load { requests, prefill_tokens, decode_blocks });
        router.set_available(worker, of.available);
    }
    Ok(router)
}

impl Candidate {
    fn new(of: &Considered) -> Self {
        let Considered { worker, held, credit, load, cost } = of;
        Self {
            instance_id: worker.id,
            dp_rank: worker.dp_rank,
            held: *held,
            credit: *credit,
            requests: load.requests,
            prefill_tokens: load.prefill_tokens,
            decode_blocks: load.decode_blocks,
            cost: cost.map(|cost| cost.total()),
        }
    }
}
