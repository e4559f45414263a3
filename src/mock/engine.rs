//! The engine: requests in, events out, a clock of its own.

use super::admission::Admission;
use super::request::Task;
use super::scheduler::{Progress, Scheduler};
use super::{Config, ConfigError, Finished, Latency, Refusal, Request, Work};
use crate::event::{Event, EventData, Worker};

/// One rank of a simulated inference engine. Engines with data parallelism are as many of these as they have ranks:
/// each has its own cache, scheduler and event numbers.
///
/// It is driven by its caller: [`submit`](Self::submit) requests as they arrive, and let it run in between. Deciding a
/// step costs O(running requests); a block that is stored, found or evicted costs O(log blocks).
#[derive(Debug)]
pub struct Engine {
    worker: Worker,
    block_size: u32,
    seed: u64,
    batch: u32,
    most_waiting: u32,
    latency: Latency,
    admission: Admission,
    scheduler: Scheduler,
    clock_ns: u64,
    last_arrival_ns: u64,
    tickets: u64,
    last_event: u64,
}

/// What a step brought about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// When it ended, on the engine's clock.
    pub at_ns: u64,
    /// How long it took.
    pub took_ns: u64,
    /// What it computed.
    pub work: Work,
    /// What the engine says, in order: evictions before the store that needed the room. One `Stored` for each prompt
    /// that the step computed a part of, and for each decoded block that is full now.
    pub events: Vec<Event>,
    /// Tickets of the requests whose first token is there now.
    pub first_tokens: Vec<u64>,
    /// Tickets of the requests whose answer is longer, by as many tokens as a block has, than at the first token or when
    /// they were last named here.
    pub longer: Vec<u64>,
    /// What is complete now.
    pub finished: Vec<Finished>,
}

impl Engine {
    /// An idle engine at time 0, with an empty cache.
    ///
    /// # Errors
    /// [`ConfigError`] where a setting is out of its range.
    pub fn new(worker: Worker, config: Config) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self {
            worker,
            block_size: config.block_size,
            seed: config.seed,
            batch: config.limits.batch,
            most_waiting: config.limits.waiting,
            admission: Admission::new(&config.rates),
            scheduler: Scheduler::new(&config),
            latency: config.latency,
            clock_ns: 0,
            last_arrival_ns: 0,
            tickets: 0,
            last_event: 0,
        })
    }

    /// Hands in a request that arrives at `at_ns`, and returns the ticket that its [`Finished`] will bear. Let the
    /// engine [run until](Self::run_until) then before. Arrivals do not go back: an earlier one arrives with the last.
    ///
    /// # Errors
    /// [`Refusal`], with the reason. Nothing has changed then.
    pub fn submit(&mut self, at_ns: u64, request: Request) -> Result<u64, Refusal> {
        let at_ns = at_ns.max(self.last_arrival_ns);
        let blocks = request.blocks(self.block_size);
        let capacity = self.scheduler.pool().capacity() as u64;
        if blocks > capacity {
            return Err(Refusal::TooLong { blocks, capacity });
        }
        let task = Task::new(self.tickets, at_ns, request, self.block_size, self.seed);
        let samples = task.request.samples;
        if samples > self.batch {
            return Err(Refusal::TooManySamples { samples, batch: self.batch });
        }
        if self.scheduler.waiting() >= self.most_waiting as usize {
            return Err(Refusal::QueueFull { waiting: self.most_waiting });
        }
        let answers = task.request.output_tokens.saturating_mul(samples.into());
        self.admission.admit(at_ns, task.request.input_tokens.saturating_add(answers))?;
        self.last_arrival_ns = at_ns;
        if self.is_idle() {
            self.clock_ns = self.clock_ns.max(at_ns);
        }
        self.scheduler.push(task);
        self.tickets += 1;
        Ok(self.tickets - 1)
    }

    /// Plays the next step, or is `None` when there is nothing to do.
    pub fn step(&mut self) -> Option<Step> {
        if self.is_idle() {
            return None;
        }
        let mut said = Vec::new();
        let work = self.scheduler.plan(self.clock_ns, &mut said);
        let took_ns = self.latency.step_ns(&work).max(1);
        self.clock_ns = self.clock_ns.saturating_add(took_ns);
        let Progress { first_tokens, longer, finished } = self.scheduler.complete(self.clock_ns, &mut said);
        let events = said.into_iter().map(|data| self.say(data)).collect();
        Some(Step { at_ns: self.clock_ns, took_ns, work, events, first_tokens, longer, finished })
    }

    /// Plays all steps that begin before `at_ns`.
    pub fn run_until(&mut self, at_ns: u64, mut each: impl FnMut(Step)) {
        while self.clock_ns < at_ns
            && let Some(step) = self.step()
        {
            each(step);
        }
    }

    /// Empties the cache, as an operator would by a reset. What runs loses its blocks and begins again.
    pub fn clear(&mut self) -> Event {
        self.scheduler.clear(self.clock_ns);
        self.say(EventData::Cleared)
    }

    /// Computes at another speed from the next step on, as a machine does that is throttled or shared.
    ///
    /// # Errors
    /// [`ConfigError`] where a number is out of its range. Nothing has changed then.
    pub fn set_latency(&mut self, latency: Latency) -> Result<(), ConfigError> {
        latency.check()?;
        self.latency = latency;
        Ok(())
    }

    /// Gives a request that waits to begin another priority. Whether it does.
    pub fn reprioritise(&mut self, ticket: u64, priority: u32) -> bool {
        self.scheduler.reprioritise(ticket, priority)
    }

    /// Whose events these are.
    pub fn worker(&self) -> Worker {
        self.worker
    }

    /// Nanoseconds since it began, on its own clock.
    pub fn clock_ns(&self) -> u64 {
        self.clock_ns
    }

    /// Whether nothing runs or waits.
    pub fn is_idle(&self) -> bool {
        self.scheduler.is_idle()
    }

    /// Sequences that run.
    pub fn running(&self) -> usize {
        self.scheduler.running()
    }

    /// Requests that wait.
    pub fn waiting(&self) -> usize {
        self.scheduler.waiting()
    }

    /// Blocks that running requests refer to.
    pub fn used_blocks(&self) -> usize {
        self.scheduler.pool().used()
    }

    /// Blocks that are cached and that nobody refers to. Those neither used nor evictable are free.
    pub fn evictable_blocks(&self) -> usize {
        self.scheduler.pool().evictable()
    }

    fn say(&mut self, data: EventData) -> Event {
        self.last_event += 1;
        Event { worker: self.worker, id: self.last_event, data }
    }
}
