//! The routing decision of `POST /v1/match`, made from the matches and from loads that the caller reports.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::{Deserialize, Serialize};

use super::refusal::Refusal;
use crate::event::Worker;
use crate::index::Matches;
use crate::route::{Considered, Decision, Explanation, Load, Request, Router, policy};
use crate::service::models::Model;
use crate::service::publisher::Publisher;
use crate::service::tier::{MAX_RANK, Tier};

/// How to choose a worker. The service does not track requests in flight: it knows only the loads in the request.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ask {
    /// Default `cost`.
    policy: Option<String>,
    /// For policies that keep sessions together.
    session: Option<u64>,
    /// What is in flight; workers that are missing here have nothing in flight.
    #[serde(default)]
    loads: Vec<InFlight>,
    #[serde(default)]
    explain: bool,
    /// What a block on each tier saves, as a share of the cost of computing it. The rest is the cost of loading it.
    credits: Option<[f32; Tier::ALL.len()]>,
}

impl Ask {
    /// Returns how many workers it names.
    pub(super) fn loads(&self) -> usize {
        self.loads.len()
    }
}

/// The default credits: loading a block from host memory is taken to cost a third of computing it, and from a disk two
/// thirds. That is more than it usually costs, so that a block on the device is clearly preferred.
const CREDITS: [f32; Tier::ALL.len()] = [1.0, 0.7, 0.3];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
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

/// The prompt to route, and its matches, one for each lookahead.
pub(super) struct Prompt<'a> {
    pub(super) hashes: &'a [u64],
    pub(super) tokens: u64,
    pub(super) matches: &'a [Matches],
}

/// The worker that was chosen.
#[derive(Serialize)]
pub(super) struct Choice {
    instance_id: u64,
    dp_rank: u32,
    policy: &'static str,
    /// Leading blocks of the prompt that it has on tiers with a credit.
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

/// Chooses among all workers that have a publisher, or among those of them that are `named`; never one whose connection
/// is lost.
pub(super) fn choose(
    model: &Model,
    ask: &Ask,
    prompt: &Prompt<'_>,
    named: Option<&[Worker]>,
) -> Result<Choice, Refusal> {
    let mut router = router(model, ask, named)?;
    let request = Request { blocks: prompt.hashes, tokens: prompt.tokens, session: ask.session, among: None };
    let answers: Vec<_> = prompt.matches.iter().collect();
    let refused = |refusal: crate::route::Refusal| Refusal::bad(format!("no worker can be chosen: {refusal}"));
    let explained = router.explain(&request, &answers, 0).map_err(refused)?;
    let Decision { worker, held, .. } = explained.decision;
    let Explanation { policy, why, candidates, .. } = explained;
    let explanation = || Explained { why, candidates: candidates.iter().map(Candidate::new).collect() };
    let explanation = ask.explain.then(explanation);
    Ok(Choice { instance_id: worker.id, dp_rank: worker.dp_rank, policy, held, explanation })
}

fn router(model: &Model, ask: &Ask, named: Option<&[Worker]>) -> Result<Router, Refusal> {
    /// Differs for every request, so that random choices differ.
    static SEED: AtomicU64 = AtomicU64::new(0);

    let name = ask.policy.as_deref().unwrap_or("cost");
    if name == "round-robin" {
        return Err(Refusal::bad(
            "round-robin depends on the previous request, and the service does not remember requests",
        ));
    }
    let policy = policy::by_name(name).map_err(|error| Refusal::bad(error.to_string()))?;
    let builder = Router::builder().policy(policy).block_size(model.block_size()).seed(SEED.fetch_add(1, Relaxed));
    let credits = ask.credits.unwrap_or(CREDITS);
    if credits.iter().any(|credit| !(0.0..=1.0).contains(credit)) {
        return Err(Refusal::bad(
            "credits are shares of the cost of computing a block: give three numbers from 0 to 1",
        ));
    }
    let builder = builder.credits(credits.to_vec()).split_tiers(|of| {
        let (worker, tier) = Tier::split(of);
        (worker, tier as usize)
    });
    let mut router = builder.build().map_err(|error| Refusal::bad(error.to_string()))?;
    let candidates = if let Some(named) = named {
        present_among(model, named)
    } else {
        let known = presence(&model.publishers().all()).into_iter();
        known.filter(|(_, present)| *present).map(|(worker, _)| worker).collect()
    };
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

/// Returns the workers that these publishers speak for, and whether one that speaks for them is connected.
fn presence(publishers: &[Arc<Publisher>]) -> HashMap<Worker, bool> {
    let mut known: HashMap<Worker, bool> = HashMap::new();
    for publisher in publishers {
        publisher.workers().into_iter().for_each(|worker| *known.entry(worker).or_default() |= publisher.is_present());
    }
    known
}

/// Returns those of the named workers, which are sorted, that are known and present. A rank that has said nothing yet is
/// known if another one of its instance is.
fn present_among(model: &Model, named: &[Worker]) -> Vec<Worker> {
    let mut candidates = Vec::new();
    for named in named.chunk_by(|a, b| a.id == b.id) {
        let publishers = model.publishers().of_instance(named[0].id);
        let known = presence(&publishers);
        let any = publishers.iter().any(|publisher| publisher.is_present());
        let is_present = |worker: &&Worker| worker.dp_rank <= MAX_RANK && *known.get(worker).unwrap_or(&any);
        candidates.extend(named.iter().filter(is_present));
    }
    candidates
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
