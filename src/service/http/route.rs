//! The routing decision of `POST /v1/match`, from the answer and from loads that the caller knows.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::{Deserialize, Serialize};

use super::refusal::Refusal;
use crate::event::Worker;
use crate::index::Matches;
use crate::route::{Considered, Decision, Explanation, Load, Request, Router, policy};
use crate::service::model::Model;
use crate::service::rank::State;

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
}

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

/// What is to be routed.
pub(super) struct Prompt<'a> {
    pub(super) hashes: &'a [u64],
    pub(super) tokens: u64,
    pub(super) matches: &'a Matches,
}

/// Who was chosen.
#[derive(Serialize)]
pub(super) struct Choice {
    instance_id: u64,
    dp_rank: u32,
    policy: &'static str,
    /// Blocks of the prompt that it has in device memory.
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

/// Chooses among `named`, or among all who publish and are not gone, by what they hold in device memory.
pub(super) fn choose(
    model: &Model,
    ask: &Ask,
    prompt: &Prompt<'_>,
    named: Option<&[Worker]>,
) -> Result<Choice, Refusal> {
    let mut router = router(model, ask, named)?;
    let request = Request { blocks: prompt.hashes, tokens: prompt.tokens, session: ask.session, among: None };
    let refused = |refusal: crate::route::Refusal| Refusal::bad(format!("nobody can be chosen: {refusal}"));
    let explained = router.explain(&request, &[prompt.matches], 0).map_err(refused)?;
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
    let mut router = builder.build().map_err(|error| Refusal::bad(error.to_string()))?;
    let candidates = named.map_or_else(|| present(model), <[Worker]>::to_vec);
    for worker in candidates {
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

/// All who publish and are not gone.
fn present(model: &Model) -> Vec<Worker> {
    let ranks = model.ranks().all();
    ranks.iter().filter(|rank| rank.state() != State::Gone).flat_map(|rank| rank.workers()).collect()
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
