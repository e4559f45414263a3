//! The router: the state of the fleet, and decisions from it.

use super::fleet::{Fleet, Load};
use super::load::{InFlight, Ticket};
use super::overlap::Overlap;
use super::predict::Predictions;
use super::{Builder, Candidates, Considered, Decision, Explanation, Mask, Policy, Random, Refusal, Request};
use crate::event::Worker;
use crate::index::Matches;

/// Chooses workers. See the [module's documentation](crate::route).
#[derive(Debug)]
pub struct Router {
    policy: Box<dyn Policy>,
    /// The version of the fleet that the policy was told of.
    told: u64,
    random: Random,
    fleet: Fleet,
    in_flight: InFlight,
    overlap: Overlap,
    predictions: Option<Predictions>,
    /// Candidates of the current decision.
    candidates: Mask,
    block_size: u32,
}

impl Router {
    /// Returns the default settings, to be changed and built.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(super) fn new(settings: Builder) -> Self {
        Self {
            random: Random::new(settings.seed),
            fleet: Fleet::new(settings.block_size, settings.max_requests),
            in_flight: InFlight::new(settings.request_timeout_ns, settings.block_size),
            overlap: Overlap::new(settings.credits, settings.split_tiers),
            predictions: settings.prediction.map(|prediction| Predictions::new(prediction, settings.seed)),
            candidates: Mask::default(),
            block_size: settings.block_size,
            policy: settings.policy,
            told: 0,
        }
    }

    /// Chooses a worker for the request and counts the request as sent there: [`Router::decide`] and then
    /// [`Router::enter`].
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

    /// Chooses a worker for the request, without counting the request as sent. `answers` are those for its prompt, one
    /// for each tier of storage, the fastest first. With one tier that is one answer, and an empty slice means that
    /// nothing is known. With [`Builder::split_tiers`], each answer covers all tiers, and there may be any number of
    /// them. Workers that were not [added](Router::add_worker) are ignored. [Tiers](crate::route#tiers) describes what
    /// counts.
    ///
    /// Costs a few passes over the workers, and one more for each slower tier. The first decision after workers have
    /// come or gone, in the router or in the index, also looks up every worker's seat. So does every decision if
    /// answers of different indexes alternate at one place of `answers`.
    ///
    /// # Errors
    /// [`Refusal`] if no worker can be chosen. Nothing has changed.
    pub fn decide(&mut self, request: &Request<'_>, answers: &[&Matches], now_ns: u64) -> Result<Decision, Refusal> {
        self.choose(request, answers, now_ns).map(|(_, decision)| decision)
    }

    /// Decides as [`Router::decide`] does, and returns the reasons. Costs one more pass over the candidates.
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

    /// Counts the request as sent to the worker of the decision. Returns `None` if that worker has left since.
    pub fn enter(&mut self, request: &Request<'_>, decision: &Decision, now_ns: u64) -> Option<Ticket> {
        let seat = self.fleet.seat(decision.worker)?;
        Some(self.enter_at(seat, request, decision, now_ns))
    }

    /// Records the first token of the answer: the prompt is computed. Returns whether the request is in flight; it is
    /// not if it has finished or expired, or if its worker has left.
    pub fn first_token(&mut self, ticket: Ticket, now_ns: u64) -> bool {
        let Some(flight) = self.in_flight.first_token(&mut self.fleet, ticket, now_ns) else { return false };
        if let (Some(predictions), Some(predicted)) = (&mut self.predictions, flight.predicted.take()) {
            predictions.confirm(flight.seat, predicted, now_ns);
        }
        true
    }

    /// Records that the answer has grown by this many tokens. Returns whether the request is in flight.
    pub fn tokens(&mut self, ticket: Ticket, tokens: u64, now_ns: u64) -> bool {
        self.in_flight.tokens(&mut self.fleet, ticket, tokens, now_ns)
    }

    /// Records the end of the request, whether it was answered, cancelled or rejected. Returns whether it was in
    /// flight.
    pub fn finish(&mut self, ticket: Ticket, now_ns: u64) -> bool {
        self.expire(now_ns);
        self.in_flight.finish(&mut self.fleet, ticket)
    }

    /// Drops the requests and predictions that have expired by now. Every decision does so; call this for a router that
    /// gets no requests.
    pub fn expire(&mut self, now_ns: u64) {
        self.in_flight.expire(&mut self.fleet, now_ns);
        if let Some(predictions) = &mut self.predictions {
            predictions.expire(&self.fleet, now_ns);
        }
    }

    /// Adds a worker, available and with nothing in flight. Returns whether it is new.
    pub fn add_worker(&mut self, worker: Worker) -> bool {
        let Some(seat) = self.fleet.add(worker) else { return false };
        if let Some(predictions) = &mut self.predictions {
            predictions.join(seat, worker);
        }
        true
    }

    /// Removes a worker and forgets what is in flight there. Returns whether it was known.
    pub fn remove_worker(&mut self, worker: Worker) -> bool {
        let Some(seat) = self.fleet.remove(worker) else { return false };
        self.in_flight.leave(seat);
        if let Some(predictions) = &mut self.predictions {
            predictions.leave(seat, worker);
        }
        true
    }

    /// Records that a worker's cache is empty, as after a restart, and ends all predictions for it. Returns whether it
    /// is known.
    pub fn cleared(&mut self, worker: Worker) -> bool {
        let Some(seat) = self.fleet.seat(worker) else { return false };
        if let Some(predictions) = &mut self.predictions {
            predictions.clear(seat, worker);
        }
        true
    }

    /// Sets whether a worker may be chosen, for instance by its health. Returns whether it is known.
    pub fn set_available(&mut self, worker: Worker, available: bool) -> bool {
        let seat = self.fleet.seat(worker);
        if let Some(seat) = seat {
            self.fleet.set_available(seat, available);
        }
        seat.is_some()
    }

    /// Sets the load of a worker from outside, for a router that only [decides](Router::decide) and enters no requests.
    /// Returns whether the worker is known.
    ///
    /// # Panics
    /// If a request that this router entered is in flight: finishing it would be subtracted from a load that does not
    /// include it.
    pub fn set_load(&mut self, worker: Worker, load: Load) -> bool {
        assert_eq!(self.in_flight.len(), 0, "a router that enters requests counts its own load");
        let seat = self.fleet.seat(worker);
        if let Some(seat) = seat {
            self.fleet.set_load(seat, load);
        }
        seat.is_some()
    }

    /// Returns the workers that a kind of request may go to, for instance those with the right model. When workers come
    /// or go, a new mask must be made; the old one is refused.
    pub fn mask(&self, member: impl Fn(Worker) -> bool) -> Mask {
        let mut mask = Mask::of_version(self.fleet.version());
        for (seat, worker) in self.fleet.iter() {
            mask.set(seat, member(worker));
        }
        mask
    }

    /// Returns all workers, in no particular order.
    pub fn workers(&self) -> impl Iterator<Item = Worker> {
        self.fleet.iter().map(|(_, worker)| worker)
    }

    /// Returns what is in flight at a worker; `None` if it is not known.
    pub fn load(&self, worker: Worker) -> Option<Load> {
        self.fleet.seat(worker).map(|seat| self.fleet.loads()[seat])
    }

    /// Requests in flight at all workers.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Requests that have expired so far.
    pub fn expired(&self) -> u64 {
        self.in_flight.expired()
    }

    /// Predicted blocks of all workers.
    pub fn predicted_blocks(&self) -> usize {
        self.predictions.as_ref().map_or(0, Predictions::blocks)
    }

    /// Name of the policy.
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
        // Only now: a fleet of a thousand workers that is set up one by one is told once.
        if self.told != self.fleet.version() {
            self.told = self.fleet.version();
            self.policy.fleet_changed(&mut self.fleet.iter());
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
