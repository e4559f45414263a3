//! The simulation of one policy: a discrete-event simulation of requests, steps, events and incidents.

use fastrand::Rng;

use super::clock::{Clock, Occurrence};
use super::member::{Flight, Member};
use super::tally::Tally;
use super::workload::Requests;
use super::world::{Change, Incident};
use super::{Knowledge, Options, PolicyReport, SimError};
use crate::event::{Event, EventData};
use crate::hash::hash_pair;
use crate::index::{Index, Matches, Reader, Writer};
use crate::mock::{self, Finished};
use crate::route::{self, Mask, Router};

/// Separates the random fate of events from what policies draw.
const FATE: u64 = 0xFA7E;
/// Separates answers from prompts.
const ANSWER: u64 = 0x0A;

/// A fleet behind a router, with an index that is fed by the events of the workers.
pub(super) struct Simulation<'a> {
    options: &'a Options,
    requests: &'a Requests,
    clock: Clock,
    members: Vec<Member>,
    incidents: Vec<Incident>,
    router: Router,
    /// For each model, the workers that serve it; empty if there is one model.
    models: Vec<Mask>,
    writer: Writer,
    reader: Reader,
    /// Whether the index has applied events that it has not published.
    unpublished: bool,
    matches: Matches,
    fate: Rng,
    /// When each request arrived, by its number.
    came_ns: Vec<u64>,
    tally: Tally,
}

impl<'a> Simulation<'a> {
    /// Creates a simulation at time 0, with all workers idle. The options must have been checked, and every request
    /// must fit into a worker.
    pub(super) fn new(options: &'a Options, requests: &'a Requests, policy: &str) -> Result<Self, SimError> {
        let (config, gpus) = options.engine()?;
        let incidents = options.world.incidents();
        let joins = incidents.iter().map(|incident| incident.worker + 1).max().unwrap_or(0);
        let members = (0..options.workers.max(joins)).map(|number| Member::new(number, &config)).collect();
        let router = Router::builder().policy(options.build_policy(policy)?).block_size(config.block_size);
        let router = router.prediction(options.knowledge.prediction(config.blocks)).seed(options.seed);
        // No request is ever lost here, however long it waits, so none may expire.
        let router = router.request_timeout_ns(u64::MAX).build().expect("the block size is checked");
        let index = Index::builder().seed(options.seed).max_workers(Options::MAX_WORKERS).build_local();
        let (writer, reader) = index.expect("the settings are in their ranges");
        let mut simulation = Self {
            options,
            requests,
            clock: Clock::default(),
            members,
            incidents,
            router,
            models: Vec::new(),
            writer,
            reader,
            unpublished: false,
            matches: Matches::new(),
            fate: Rng::with_seed(hash_pair(FATE, options.seed)),
            came_ns: vec![0; requests.len()],
            tally: Tally::new(&config, gpus, requests.span_ns()),
        };
        for worker in 0..options.workers {
            simulation.start(worker);
        }
        simulation.fleet_changed();
        for (incident, number) in simulation.incidents.iter().zip(0..) {
            simulation.clock.at(nanoseconds(incident.at), Occurrence::Incident(number));
        }
        simulation.next_comes(0);
        Ok(simulation)
    }

    /// Plays until nothing is pending. Calls `progress` with the number of requests that are finished or rejected.
    pub(super) fn play(mut self, mut progress: impl FnMut(u64)) -> PolicyReport {
        let mut told = 0;
        while let Some((now, occurrence)) = self.clock.next() {
            match occurrence {
                Occurrence::StepEnds { worker, life } if life == self.members[worker as usize].life() => {
                    self.step_ends(worker, now);
                }
                // The step of an engine that has died since.
                Occurrence::StepEnds { .. } => {}
                Occurrence::Heard { worker } => self.hear(worker, now),
                Occurrence::Incident(number) => self.incident(number, now),
                Occurrence::Comes(number) => {
                    if !self.requests.get(number).follows {
                        self.next_comes(number + 1);
                    }
                    self.came_ns[number as usize] = now;
                    self.tally.comes();
                    self.send(number, 0, now);
                }
            }
            if self.tally.over() > told {
                told = self.tally.over();
                progress(told);
            }
        }
        self.tally.report(self.router.policy(), &self.members)
    }

    /// Schedules the next request, from this number on, that does not wait for an answer. Only one of them is on the
    /// clock at a time, which keeps the heap small and fast.
    fn next_comes(&mut self, from: u32) {
        let mut numbers = from..self.requests.len() as u32;
        if let Some(number) = numbers.find(|&number| !self.requests.get(number).follows) {
            self.clock.at(self.requests.get(number).at_ns, Occurrence::Comes(number));
        }
    }

    /// Looks up a request, chooses a worker and submits the request there.
    fn send(&mut self, number: u32, deaths: u32, now: u64) {
        let request = self.requests.get(number);
        let prompt = self.requests.prompt(number);
        // Publishing only before a lookup makes everything that has arrived visible, and costs less than after each
        // event.
        if std::mem::take(&mut self.unpublished) {
            self.writer.publish();
        }
        self.reader.find(&prompt, &mut self.matches);
        let input_tokens = request.input_tokens.into();
        let ask = route::Request {
            blocks: &prompt,
            tokens: input_tokens,
            session: Some(request.session.into()),
            among: self.models.get(self.requests.model(number) as usize),
        };
        let Ok((decision, ticket)) = self.router.route(&ask, &[&self.matches], now) else {
            return self.reject(number, now);
        };
        // The last token is always computed, so its block is never reused, however much is cached.
        let reusable = request.input_tokens.saturating_sub(1) / self.options.block_size;
        let flight = Flight { request: number, ticket, predicted: decision.held.min(reusable), deaths };
        let request = mock::Request {
            prompt,
            input_tokens,
            output_tokens: request.output_tokens.into(),
            text: hash_pair(ANSWER, number.into()),
            answer: self.requests.answer(number),
            ..mock::Request::default()
        };
        let worker = decision.worker.id as u32;
        if self.members[worker as usize].submit(now, request, flight).is_err() {
            self.router.finish(ticket, now);
            return self.reject(number, now);
        }
        self.go_on(worker);
    }

    fn reject(&mut self, number: u32, now: u64) {
        self.tally.rejected();
        self.answered(number, now);
    }

    /// Schedules the next request of the session, if it waits for this one.
    fn answered(&mut self, number: u32, now: u64) {
        if let Some(next) = self.requests.get(number).next {
            let request = self.requests.get(next);
            if request.follows {
                self.clock.at(now.saturating_add(request.at_ns), Occurrence::Comes(next));
            }
        }
    }

    fn go_on(&mut self, worker: u32) {
        let member = &mut self.members[worker as usize];
        if let Some(ends) = member.go_on() {
            self.clock.at(ends, Occurrence::StepEnds { worker, life: member.life() });
        }
    }

    fn step_ends(&mut self, worker: u32, now: u64) {
        let member = &mut self.members[worker as usize];
        let Some(step) = member.end_step() else { return };
        for &ticket in &step.first_tokens {
            self.router.first_token(member.flight(ticket).ticket, now);
        }
        for &ticket in &step.longer {
            self.router.tokens(member.flight(ticket).ticket, self.options.block_size.into(), now);
        }
        for event in step.events {
            self.said(worker, event, now);
        }
        for finished in &step.finished {
            self.finished(worker, finished, now);
        }
        self.go_on(worker);
    }

    fn finished(&mut self, worker: u32, finished: &Finished, now: u64) {
        let flight = self.members[worker as usize].land(finished.ticket);
        self.router.finish(flight.ticket, now);
        let request = self.requests.get(flight.request);
        self.tally.finished(request, self.came_ns[flight.request as usize], &flight, finished);
        self.answered(flight.request, now);
    }

    /// Sends an event of a worker to the router: once, twice, or not at all.
    fn said(&mut self, worker: u32, event: Event, now: u64) {
        let world = &self.options.world;
        self.tally.said(&event);
        if world.loss > 0.0 && self.fate.f64() < world.loss {
            return self.tally.events.lost += 1;
        }
        let twice = world.duplication > 0.0 && self.fate.f64() < world.duplication;
        if twice {
            self.tally.events.duplicated += 1;
            self.tell(worker, event.clone(), now);
        }
        self.tell(worker, event, now);
    }

    /// Delivers an event after the delay, or at once if there is none.
    fn tell(&mut self, worker: u32, event: Event, now: u64) {
        if self.options.knowledge == Knowledge::Decisions {
            return;
        }
        let world = &self.options.world;
        let (delay, jitter) = (nanoseconds(world.delay), nanoseconds(world.jitter));
        if delay == 0 && jitter == 0 {
            return self.apply(&event);
        }
        let more = if jitter == 0 { 0 } else { self.fate.u64(..=jitter) };
        let heard = self.members[worker as usize].say(now.saturating_add(delay + more), event);
        self.clock.at(heard, Occurrence::Heard { worker });
    }

    fn hear(&mut self, worker: u32, now: u64) {
        while let Some(event) = self.members[worker as usize].hear(now) {
            self.apply(&event);
        }
    }

    fn apply(&mut self, event: &Event) {
        self.unpublished = true;
        if self.writer.apply(event).is_err() {
            self.tally.events.rejected += 1;
        }
    }

    fn incident(&mut self, number: u32, now: u64) {
        let Incident { worker, change, .. } = self.incidents[number as usize];
        let orphans = match change {
            Change::Slow(times) => {
                self.members[worker as usize].slow(times);
                Vec::new()
            }
            Change::Join => {
                self.start(worker);
                self.notice(worker, EventData::WorkerAdded, now);
                Vec::new()
            }
            Change::Leave => self.stop(worker, now),
            Change::Restart => {
                let orphans = self.stop(worker, now);
                self.start(worker);
                self.notice(worker, EventData::WorkerAdded, now);
                orphans
            }
        };
        self.fleet_changed();
        for Flight { request, deaths, .. } in orphans {
            if deaths < self.options.world.retries() {
                self.tally.retried += 1;
                self.send(request, deaths + 1, now);
            } else {
                self.reject(request, now);
            }
        }
    }

    fn start(&mut self, worker: u32) {
        self.members[worker as usize].start();
        self.router.add_worker(self.members[worker as usize].worker);
    }

    /// Stops a worker. Returns the requests that were in flight there.
    fn stop(&mut self, worker: u32, now: u64) -> Vec<Flight> {
        self.router.remove_worker(self.members[worker as usize].worker);
        self.notice(worker, EventData::WorkerRemoved, now);
        self.members[worker as usize].die(now)
    }

    /// Tells the index that a worker has joined or left. Such notices are as late as events, but are never lost.
    fn notice(&mut self, worker: u32, data: EventData, now: u64) {
        let event = Event { worker: self.members[worker as usize].worker, id: 0, data };
        self.tell(worker, event, now);
    }

    /// Assigns the workers that are present to models.
    fn fleet_changed(&mut self) {
        let models = self.requests.models();
        if models.len() > 1 {
            let count = u64::from(models.end);
            self.models =
                models.map(|model| self.router.mask(|worker| worker.id % count == u64::from(model))).collect();
        }
    }
}

fn nanoseconds(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
