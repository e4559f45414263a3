//! A member of the fleet: an engine that can join, die and slow down, with its requests and events in flight.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::FixedState;

use crate::event::{Event, Worker};
use crate::mock::{Config, Engine, Refusal, Request, Step};
use crate::route::Ticket;

/// A request at a worker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flight {
    pub(super) request: u32,
    /// Its ticket at the router.
    pub(super) ticket: Ticket,
    /// Blocks that the router expected it to reuse here.
    pub(super) predicted: u32,
    /// How often a worker has died under it.
    pub(super) deaths: u32,
}

/// A place in the fleet, and the engine in it, if there is one.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) worker: Worker,
    config: Config,
    engine: Option<Engine>,
    /// Number of deaths, which tells apart the steps of successive engines.
    life: u32,
    /// The current step, which was simulated when it started and takes effect when it ends.
    step: Option<Step>,
    /// Requests at the engine, by its tickets.
    flights: HashMap<u64, Flight, FixedState>,
    /// Events on their way to the router, and when they arrive.
    said: VecDeque<(u64, Event)>,
    pub(super) busy_ns: u64,
    pub(super) finished: u64,
    /// Prompt blocks computed.
    pub(super) computed: u64,
}

impl Member {
    /// Creates a place without an engine.
    pub(super) fn new(number: u32, config: &Config) -> Self {
        // Even and odd workers use different sequence hashes for the same content, as engines of two makes do.
        let config = Config { seed: u64::from(number % 2), ..config.clone() };
        Self {
            worker: Worker::new(number.into(), 0),
            config,
            engine: None,
            life: 0,
            step: None,
            flights: HashMap::default(),
            said: VecDeque::new(),
            busy_ns: 0,
            finished: 0,
            computed: 0,
        }
    }

    /// Starts an engine with an empty cache.
    pub(super) fn start(&mut self) {
        let engine = Engine::new(self.worker, self.config.clone());
        self.engine = Some(engine.expect("the configuration was checked"));
    }

    pub(super) fn life(&self) -> u32 {
        self.life
    }

    /// Ends the engine. Returns the requests that were in flight, in the order of their arrival.
    pub(super) fn die(&mut self, now: u64) -> Vec<Flight> {
        self.engine = None;
        self.life += 1;
        if let Some(step) = self.step.take() {
            self.busy_ns -= step.at_ns - now;
        }
        let mut flights: Vec<(u64, Flight)> = self.flights.drain().collect();
        flights.sort_unstable_by_key(|&(ticket, _)| ticket);
        flights.into_iter().map(|(_, flight)| flight).collect()
    }

    pub(super) fn slow(&mut self, times: f64) {
        let latency = self.config.latency.slowed(times);
        if let Some(engine) = &mut self.engine {
            engine.set_latency(latency).expect("the factor was checked");
        }
    }

    /// Submits a request to the engine. There is one, because the router only knows workers that are present.
    pub(super) fn submit(&mut self, now: u64, request: Request, flight: Flight) -> Result<(), Refusal> {
        let engine = self.engine.as_mut().expect("the router only knows workers that are present");
        let ticket = engine.submit(now, request)?;
        self.flights.insert(ticket, flight);
        Ok(())
    }

    /// Starts a step if none is running and there is something to do. Returns when it ends.
    pub(super) fn go_on(&mut self) -> Option<u64> {
        if self.step.is_some() {
            return None;
        }
        let step = self.engine.as_mut()?.step()?;
        self.busy_ns += step.took_ns;
        self.computed += step.work.prompt_blocks;
        let ends = step.at_ns;
        self.step = Some(step);
        Some(ends)
    }

    /// Takes the current step, which has ended.
    pub(super) fn end_step(&mut self) -> Option<Step> {
        self.step.take()
    }

    pub(super) fn flight(&self, ticket: u64) -> &Flight {
        &self.flights[&ticket]
    }

    pub(super) fn land(&mut self, ticket: u64) -> Flight {
        self.finished += 1;
        self.flights.remove(&ticket).expect("an engine finishes what was submitted, once")
    }

    /// Sends an event that arrives at `heard_ns`, or with the previous event if that arrives later, so that events stay
    /// in order. Returns when it arrives.
    pub(super) fn say(&mut self, heard_ns: u64, event: Event) -> u64 {
        let heard_ns = self.said.back().map_or(heard_ns, |&(before, _)| heard_ns.max(before));
        self.said.push_back((heard_ns, event));
        heard_ns
    }

    /// Takes the next event that has arrived by now.
    pub(super) fn hear(&mut self, now: u64) -> Option<Event> {
        let due = self.said.front().is_some_and(|&(at, _)| at <= now);
        due.then(|| self.said.pop_front().map(|(_, event)| event)).flatten()
    }
}
