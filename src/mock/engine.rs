//! The engine: requests in, events out, on a clock of its own.

use super::admission::Admission;
use super::request::Task;
use super::scheduler::{Progress, Scheduler};
use super::{Config, ConfigError, Finished, Latency, Refusal, Request, Work};
use crate::event::{Event, EventData, Worker};

/// One data-parallel rank of a simulated inference engine, with its own cache, scheduler and event numbers. Use several
/// for an engine with data parallelism.
///
/// The caller drives it: [`submit`](Self::submit) requests as they arrive, and let it run in between. Planning a step
/// costs O(running requests); storing, finding or evicting a block costs O(log blocks).
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

/// The outcome of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// When it ended, on the engine's clock.
    pub at_ns: u64,
    /// How long it took.
    pub took_ns: u64,
    /// What it computed.
    pub work: Work,
    /// What the engine publishes, in order: evictions before the store that needed the room. There is one `Stored` for
    /// each prompt of which the step filled blocks, and one for each block that decoding filled.
    pub events: Vec<Event>,
    /// Tickets of the requests that got their first token.
    pub first_tokens: Vec<u64>,
    /// Tickets of the requests whose answer has grown by one block of tokens since their first token, or since they
    /// were last listed here.
    pub longer: Vec<u64>,
    /// Samples that are complete.
    pub finished: Vec<Finished>,
}

impl Engine {
    /// Creates an idle engine at time 0, with an empty cache.
    ///
    /// # Errors
    /// [`ConfigError`] if a setting is out of range.
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

    /// Submits a request that arrives at `at_ns`, and returns the ticket that its [`Finished`] will carry. Let the
    /// engine [run until](Self::run_until) that time first. A time before the previous arrival counts as
    /// that arrival's time.
    ///
    /// # Errors
    /// [`Refusal`], with the reason. The engine has not changed then.
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

    /// Simulates the next step. Returns `None` if there is nothing to do.
    pub fn step(&mut self) -> Option<Step> {
        if self.is_idle() {
            return None;
        }
        let mut changes = Vec::new();
        let work = self.scheduler.plan(self.clock_ns, &mut changes);
        let took_ns = self.latency.step_ns(&work).max(1);
        self.clock_ns = self.clock_ns.saturating_add(took_ns);
        let Progress { first_tokens, longer, finished } = self.scheduler.complete(self.clock_ns, &mut changes);
        let events = changes.into_iter().map(|data| self.publish(data)).collect();
        Some(Step { at_ns: self.clock_ns, took_ns, work, events, first_tokens, longer, finished })
    }

    /// Simulates all steps that start before `at_ns`.
    pub fn run_until(&mut self, at_ns: u64, mut each: impl FnMut(Step)) {
        while self.clock_ns < at_ns
            && let Some(step) = self.step()
        {
            each(step);
        }
    }

    /// Empties the cache, as resetting the prefix cache of a real engine does. Running requests lose their blocks and
    /// start again.
    pub fn clear(&mut self) -> Event {
        self.scheduler.clear(self.clock_ns);
        self.publish(EventData::Cleared)
    }

    /// Changes the speed from the next step on, as on a machine that is throttled or shared.
    ///
    /// # Errors
    /// [`ConfigError`] if a number is out of range. Nothing has changed then.
    pub fn set_latency(&mut self, latency: Latency) -> Result<(), ConfigError> {
        latency.check()?;
        self.latency = latency;
        Ok(())
    }

    /// Changes the priority of a request that has not started yet. Returns whether there is one with this ticket.
    pub fn reprioritise(&mut self, ticket: u64, priority: u32) -> bool {
        self.scheduler.reprioritise(ticket, priority)
    }

    /// The worker that the events are from.
    pub fn worker(&self) -> Worker {
        self.worker
    }

    /// Nanoseconds since time 0, on the engine's own clock.
    pub fn clock_ns(&self) -> u64 {
        self.clock_ns
    }

    /// Whether no request is running or waiting.
    pub fn is_idle(&self) -> bool {
        self.scheduler.is_idle()
    }

    /// Running sequences.
    pub fn running(&self) -> usize {
        self.scheduler.running()
    }

    /// Waiting requests.
    pub fn waiting(&self) -> usize {
        self.scheduler.waiting()
    }

    /// Blocks that running requests refer to.
    pub fn used_blocks(&self) -> usize {
        self.scheduler.pool().used()
    }

    /// Blocks that are cached but not referred to. Those that are neither used nor evictable are free.
    pub fn evictable_blocks(&self) -> usize {
        self.scheduler.pool().evictable()
    }

    /// Gives an event the next number.
    fn publish(&mut self, data: EventData) -> Event {
        self.last_event += 1;
        Event { worker: self.worker, id: self.last_event, data }
    }
}
