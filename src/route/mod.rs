//! Choosing a worker: from what each holds of a prompt, and what is in flight there.
//!
//! A [`Router`] knows the workers, their [`Load`] and, where asked for, what they will hold before they say so. For
//! every request a [`Policy`] chooses one of them. What the workers hold comes in as [`Matches`] of an index; what they
//! do, from calls when a request is sent, answers its first token, goes on, and finishes. There is no clock: times are
//! nanoseconds since any moment that the caller likes, and never go back.
//!
//! # One router, one owner
//! A router is plain state behind `&mut`, because decisions must see each other: two requests at the same moment should
//! not both take the last free worker. Look up first, outside of any lock, and put the router into a mutex: with a
//! thousand workers, it is held for about a microsecond.
//!
//! ```
//! use kvleap::route::{Request, Router};
//! use kvleap::{Block, BlockHasher, Event, EventData, Index, Matches, Worker};
//!
//! let index = Index::builder().build()?;
//! let hasher = BlockHasher::new(16)?;
//! let mut router = Router::builder().block_size(16).build()?;
//! for id in 0..3 {
//!     router.add_worker(Worker::new(id, 0));
//! }
//!
//! // Worker 2 has cached the first two of three blocks.
//! let tokens: Vec<u32> = (0..48).collect();
//! let prompt = hasher.hash(&tokens);
//! let blocks = (100..).zip(&prompt[..2]).map(|(sequence, &local)| Block { sequence, local }).collect();
//! index.send(Event { worker: Worker::new(2, 0), id: 1, data: EventData::Stored { parent: None, blocks } })?;
//! index.flush()?; // only because we look at once
//!
//! // For every request: look up, choose, send.
//! let mut matches = Matches::new();
//! index.find(&prompt, &mut matches);
//! let request = Request { blocks: &prompt, tokens: tokens.len() as u64, ..Request::default() };
//! let (decision, ticket) = router.route(&request, &[&matches], 1_000)?;
//! assert_eq!((decision.worker, decision.held), (Worker::new(2, 0), 2));
//!
//! // And as the answer comes:
//! router.first_token(ticket, 2_000);
//! router.tokens(ticket, 1, 3_000);
//! router.finish(ticket, 4_000);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Tiers
//! Engines keep blocks in device memory, in host memory and on disk, and to bring one back is cheaper than to compute
//! it. [`Builder::credits`] says what a held block saves in each tier. The answers tell of tiers in one of two ways:
//!
//! - One answer for each tier, from an index for each. A router that knows of device memory only is the plainest case.
//! - With [`Builder::split_tiers`], one index for all tiers, in which a slower tier of a worker is a worker of its own.
//!   Every answer holds all tiers. There may be several, about different workers, as where engines hash a prompt in
//!   different ways: their union counts.
//!
//! Either way, a slower tier counts what is there *or in a faster one*: a worker with 2 blocks in device memory and the
//! next 3 in host memory has the depths 2 and 5. A block is worth the credit of the fastest tier that has it:
//!
//! ```text
//! credit = sum over the tiers, the fastest first, of
//!          credit of the tier x max(0, depth in it - greatest depth in a faster one)
//! ```
//!
//! What is predicted counts as the fastest tier's.
//!
//! # Predictions
//! An event tells of a prompt only when it is computed, and until then the next requests with the same prompt would go
//! elsewhere. With [`Builder::prediction`], a decision enters the blocks of its prompt into an index of the router's
//! own, and later decisions take the more of what the answers say and what is predicted. Real events replace a
//! prediction:
//!
//! - Where an answer says as much as was predicted, or more, the answer counts.
//! - [`Prediction::grace_ns`] after a request's first token, its prompt has been computed and told of. What it
//!   predicted ends, but for blocks that a later decision predicted again, and those that prompts of such decisions go
//!   on from.
//! - [`Prediction::ttl_ns`] after the last decision that predicted a block, it ends in any case: the request was lost.
//! - [`Router::cleared`] and [`Router::remove_worker`] end all that was predicted of the worker.
//!
//! Where engines publish nothing, [`Prediction::instead_of_events`] goes on for as long as a cache of a given size
//! would hold the blocks, by the router's own decisions alone. It does not see what the answers add, nor what other
//! routers send.
//!
//! # What is not counted
//! Prompts in flight at the same worker that share blocks count as if each had its own. Several routers over one fleet
//! do not see each other's requests.

mod config;
mod error;
mod explain;
mod fleet;
mod load;
mod mask;
mod overlap;
pub mod policy;
mod predict;
mod random;

pub use config::Builder;
pub use error::{ConfigError, Refusal};
pub use explain::{Considered, Explanation};
pub use fleet::Load;
pub use load::Ticket;
pub use mask::Mask;
pub use policy::{
    Candidates, Cost, CostBased, LeastLoaded, LongestPrefix, Policy, PowerOfTwo, RandomChoice, RoundRobin,
};
pub use policy::{SessionAffinity, UnknownPolicy, Weights};
pub use predict::Prediction;
pub use random::Random;

use crate::event::Worker;
use crate::index::Matches;
use fleet::Fleet;
use load::InFlight;
use overlap::Overlap;
use predict::Predictions;

/// What is to be routed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request<'a> {
    /// Local hashes of the prompt's full blocks.
    pub blocks: &'a [u64],
    /// Tokens of the prompt. Fewer than those of its blocks are taken for as many.
    pub tokens: u64,
    /// What session it belongs to, for policies that keep sessions together.
    pub session: Option<u64>,
    /// Who may serve it; `None`: everybody. See [`Router::mask`].
    pub among: Option<&'a Mask>,
}

/// Which worker serves a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The one chosen.
    pub worker: Worker,
    /// Leading blocks of the prompt that it is thought to hold, in whatever tier with a credit: the greatest depth that
    /// the answers give it, or what was predicted where that is more.
    pub held: u32,
    /// How many of them were predicted, whatever the answers say.
    pub predicted: u32,
}

/// Chooses workers. See the [module's documentation](self).
#[derive(Debug)]
pub struct Router {
    policy: Box<dyn Policy>,
    random: Random,
    fleet: Fleet,
    in_flight: InFlight,
    overlap: Overlap,
    predictions: Option<Predictions>,
    /// Of the decision at hand.
    candidates: Mask,
    block_size: u32,
}

impl Router {
    /// Settings to start from.
    pub fn builder() -> Builder {
        Builder::default()
    }

    fn new(settings: Builder) -> Self {
        Self {
            random: Random::new(settings.seed),
            fleet: Fleet::new(settings.block_size, settings.max_requests),
            in_flight: InFlight::new(settings.request_timeout_ns, settings.block_size),
            overlap: Overlap::new(settings.credits, settings.split_tiers),
            predictions: settings.prediction.map(|prediction| Predictions::new(prediction, settings.seed)),
            candidates: Mask::default(),
            block_size: settings.block_size,
            policy: settings.policy,
        }
    }

    /// Chooses a worker for the request and counts it as sent there: [`Router::decide`] and [`Router::enter`].
    ///
    /// # Errors
    /// See [`Router::decide`].
    pub fn route(
        &mut self,
        request: &Request<'_>,
        answers: &[&Matches],
        now_ns: u64,
    ) -> Result<(Decision, Ticket), Refusal> {
        let (seat, decision) = self.choose(request, answers, now_ns)?;
        Ok((decision, self.enter_at(seat, request, &decision, now_ns)))
    }

    /// Chooses a worker for the request, and only that. `answers` are for its prompt, one for each tier of storage, the
    /// fastest first; where a router knows one tier only, it is one answer, and none where nothing is known. With
    /// [`Builder::split_tiers`], each of them holds all tiers, and there may be any number. Workers in them that were
    /// not [added](Router::add_worker) are passed over. What counts of them: see [tiers](self#tiers).
    ///
    /// Costs a few passes over the workers, and one more for each slower tier. When workers came or went, there or
    /// here, the first decision after it also looks up all names; so does every decision of a router that is given
    /// answers of several indexes in turn, in the same place of `answers`.
    ///
    /// # Errors
    /// Nobody can be chosen, and why. Nothing has changed.
    pub fn decide(&mut self, request: &Request<'_>, answers: &[&Matches], now_ns: u64) -> Result<Decision, Refusal> {
        self.choose(request, answers, now_ns).map(|(_, decision)| decision)
    }

    /// As [`Router::decide`], and says why. Costs a step for every candidate more.
    ///
    /// # Errors
    /// See [`Router::decide`].
    pub fn explain(
        &mut self,
        request: &Request<'_>,
        answers: &[&Matches],
        now_ns: u64,
    ) -> Result<Explanation, Refusal> {
        let (_, decision) = self.choose(request, answers, now_ns)?;
        let candidates = self.candidates();
        let considered = |seat| Considered {
            worker: candidates.worker(seat),
            held: candidates.held()[seat],
            credit: candidates.credits()[seat],
            load: candidates.load(seat),
            cost: self.policy.cost(request, &candidates, seat),
        };
        Ok(Explanation {
            policy: self.policy.name(),
            decision,
            why: self.policy.why(),
            blocks: request.blocks.len() as u32,
            candidates: candidates.iter().map(considered).collect(),
        })
    }

    /// Counts the request as sent where it was decided. `None` if that worker has left since.
    pub fn enter(&mut self, request: &Request<'_>, decision: &Decision, now_ns: u64) -> Option<Ticket> {
        let seat = self.fleet.seat(decision.worker)?;
        Some(self.enter_at(seat, request, decision, now_ns))
    }

    /// The first token of the answer is there: the prompt is computed. Returns whether the request is in flight; it is
    /// not if it finished, was given up, or its worker left.
    pub fn first_token(&mut self, ticket: Ticket, now_ns: u64) -> bool {
        let Some(flight) = self.in_flight.first_token(&mut self.fleet, ticket, now_ns) else { return false };
        if let (Some(predictions), Some(predicted)) = (&mut self.predictions, flight.predicted.take()) {
            predictions.confirm(flight.seat, predicted, now_ns);
        }
        true
    }

    /// The answer is longer by so many tokens. Returns as [`Router::first_token`] does.
    pub fn tokens(&mut self, ticket: Ticket, tokens: u64, now_ns: u64) -> bool {
        self.in_flight.tokens(&mut self.fleet, ticket, tokens, now_ns)
    }

    /// The request is over, whether it was answered, cancelled or rejected. Returns as [`Router::first_token`] does.
    pub fn finish(&mut self, ticket: Ticket, now_ns: u64) -> bool {
        self.expire(now_ns);
        self.in_flight.finish(&mut self.fleet, ticket)
    }

    /// Gives up what is due by now. Every decision does; a router without requests may want to.
    pub fn expire(&mut self, now_ns: u64) {
        self.in_flight.expire(&mut self.fleet, now_ns);
        if let Some(predictions) = &mut self.predictions {
            predictions.expire(&self.fleet, now_ns);
        }
    }

    /// A worker is there. Returns whether it is new. It is available, and nothing is in flight there.
    pub fn add_worker(&mut self, worker: Worker) -> bool {
        let Some(seat) = self.fleet.add(worker) else { return false };
        if let Some(predictions) = &mut self.predictions {
            predictions.join(seat, worker);
        }
        self.policy.fleet_changed(&mut self.fleet.iter());
        true
    }

    /// A worker left: what was in flight there is forgotten. Returns whether it was there.
    pub fn remove_worker(&mut self, worker: Worker) -> bool {
        let Some(seat) = self.fleet.remove(worker) else { return false };
        self.in_flight.leave(seat);
        if let Some(predictions) = &mut self.predictions {
            predictions.leave(seat, worker);
        }
        self.policy.fleet_changed(&mut self.fleet.iter());
        true
    }

    /// A worker's cache is empty now, as after a restart: nothing is predicted of it any more. Returns whether it is
    /// there.
    pub fn cleared(&mut self, worker: Worker) -> bool {
        let Some(seat) = self.fleet.seat(worker) else { return false };
        if let Some(predictions) = &mut self.predictions {
            predictions.clear(seat, worker);
        }
        true
    }

    /// Whether a worker may be chosen: it is healthy, say, or not. Returns whether it is there.
    pub fn set_available(&mut self, worker: Worker, available: bool) -> bool {
        let seat = self.fleet.seat(worker);
        if let Some(seat) = seat {
            self.fleet.set_available(seat, available);
        }
        seat.is_some()
    }

    /// What is in flight at a worker by somebody else's count; for routers that only decide, and enter nothing.
    #[cfg(feature = "service")]
    pub(crate) fn set_load(&mut self, worker: Worker, load: Load) {
        debug_assert_eq!(self.in_flight.len(), 0, "its own requests would be taken off the other's count");
        if let Some(seat) = self.fleet.seat(worker) {
            self.fleet.set_load(seat, load);
        }
    }

    /// Those of the workers that a kind of request may go to: the ones with the right model, say. To be made again when
    /// workers come or go; the old one is then refused.
    pub fn mask(&self, member: impl Fn(Worker) -> bool) -> Mask {
        let mut mask = Mask::of_version(self.fleet.version());
        for (seat, worker) in self.fleet.iter() {
            mask.set(seat, member(worker));
        }
        mask
    }

    /// The workers that there are, in no particular order.
    pub fn workers(&self) -> impl Iterator<Item = Worker> {
        self.fleet.iter().map(|(_, worker)| worker)
    }

    /// What is in flight at a worker; `None` if it is not there.
    pub fn load(&self, worker: Worker) -> Option<Load> {
        self.fleet.seat(worker).map(|seat| self.fleet.loads()[seat])
    }

    /// Requests in flight, at all workers.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Requests that were given up so far.
    pub fn expired(&self) -> u64 {
        self.in_flight.expired()
    }

    /// Blocks that are predicted, of all workers.
    pub fn predicted_blocks(&self) -> usize {
        self.predictions.as_ref().map_or(0, Predictions::blocks)
    }

    /// The policy's name.
    pub fn policy(&self) -> &'static str {
        self.policy.name()
    }

    fn candidates(&self) -> Candidates<'_> {
        Candidates {
            fleet: &self.fleet,
            mask: &self.candidates,
            held: self.overlap.held(),
            credits: self.overlap.credits(),
        }
    }

    fn choose(
        &mut self,
        request: &Request<'_>,
        answers: &[&Matches],
        now_ns: u64,
    ) -> Result<(usize, Decision), Refusal> {
        if answers.len() > self.overlap.max_answers() {
            return Err(Refusal::TooManyTiers { answers: answers.len(), tiers: self.overlap.max_answers() });
        }
        if request.among.is_some_and(|mask| mask.version != self.fleet.version()) {
            return Err(Refusal::StaleMask);
        }
        self.expire(now_ns);
        self.fleet.candidates(request.among, &mut self.candidates);
        if self.candidates.is_empty() {
            return Err(match (self.fleet.len(), self.fleet.any_available()) {
                (0, _) => Refusal::NoWorkers,
                (_, false) => Refusal::NoneAvailable,
                _ => Refusal::NoCandidate,
            });
        }
        if let Some(predictions) = &mut self.predictions {
            predictions.look_up(&self.fleet, request.blocks);
        }
        let predicted = self.predictions.as_ref().map(Predictions::depths);
        self.overlap.read(&self.fleet, answers, predicted);
        let candidates = Candidates {
            fleet: &self.fleet,
            mask: &self.candidates,
            held: self.overlap.held(),
            credits: self.overlap.credits(),
        };
        let seat = self.policy.choose(request, &candidates, &mut self.random);
        let seat = seat.filter(|&seat| self.candidates.contains(seat)).ok_or(Refusal::Declined)?;
        let predicted = predicted.map_or(0, |predicted| predicted[seat]);
        Ok((seat, Decision { worker: candidates.worker(seat), held: candidates.held()[seat], predicted }))
    }

    fn enter_at(&mut self, seat: usize, request: &Request<'_>, decision: &Decision, now_ns: u64) -> Ticket {
        let block_size = u64::from(self.block_size);
        let tokens = request.tokens.max(request.blocks.len() as u64 * block_size);
        let prefill_tokens = tokens.saturating_sub(u64::from(decision.held) * block_size);
        let predicted = self.predictions.as_mut();
        let predicted = predicted.and_then(|it| it.enter(seat, decision.worker, request.blocks, now_ns));
        self.in_flight.add(&mut self.fleet, seat, (tokens, prefill_tokens), predicted, now_ns)
    }
}
