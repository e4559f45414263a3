//! Continuous batching: what each step computes, and for which requests.
//!
//! The unit of scheduling is one step of the model, not a request: after every step, finished sequences leave the batch
//! and waiting ones may join (Yu et al., "Orca", 2022). As in vLLM (Kwon et al., `PagedAttention`, 2023), prompts are
//! computed in chunks beside the decoding of others, and a sequence that finds no room preempts the newest one, which
//! starts again by recomputation. Here, a request is admitted only when the block pool has room for its whole prompt.
//!
//! A step is two calls. [`Scheduler::plan`] decides what is computed and takes the blocks for it, at the time the step
//! starts. [`Scheduler::complete`] gives every sequence that has nothing left to compute its next token, at the time
//! the step ends. Evictions and stores of the first and evictions of the second are the step's events, in this order.

use std::mem;

use super::pool::{Pool, Sequence, Shortage};
use super::request::Task;
use super::waiting::Waiting;
use super::{Config, Finished, Limits, Work};
use crate::event::EventData;

/// The requests that are running, in the order in which they were admitted, and those that are waiting.
#[derive(Debug)]
pub(super) struct Scheduler {
    limits: Limits,
    block_size: u64,
    pool: Pool,
    running: Vec<Running>,
    waiting: Waiting,
}

#[derive(Debug)]
struct Running {
    task: Task,
    sequence: Sequence,
    /// How many sequences it becomes once its prompt is computed; 1 after that.
    samples: u32,
    /// Whether the current step computes a part of it.
    planned: bool,
}

/// How a step advanced the requests.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Tickets of the requests that now have their first token.
    pub(super) first_tokens: Vec<u64>,
    /// Tickets of the requests whose answer has grown by a block.
    pub(super) longer: Vec<u64>,
    pub(super) finished: Vec<Finished>,
}

impl Running {
    /// Tokens to compute before the next one can be sampled.
    fn left(&self) -> u64 {
        self.task.known() - self.sequence.tokens()
    }
}

impl Scheduler {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            limits: config.limits.clone(),
            block_size: config.block_size.into(),
            pool: Pool::new(config.block_size, config.blocks, config.cached_tokens, config.copies),
            running: Vec::new(),
            waiting: Waiting::default(),
        }
    }

    pub(super) fn pool(&self) -> &Pool {
        &self.pool
    }

    pub(super) fn running(&self) -> usize {
        self.running.len()
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.running.is_empty() && self.waiting.len() == 0
    }

    pub(super) fn push(&mut self, task: Task) {
        self.waiting.push(task, &self.limits);
    }

    pub(super) fn reprioritise(&mut self, ticket: u64, priority: u32) -> bool {
        self.waiting.reprioritise(ticket, priority, &self.limits)
    }

    /// Decides what the next step computes and takes the blocks for it. Appends the evictions and stores to `events`.
    ///
    /// Running sequences come before waiting ones, so that an admission never takes room from a sequence that could
    /// have used it.
    pub(super) fn plan(&mut self, now: u64, events: &mut Vec<EventData>) -> Work {
        let mut work = Work::default();
        let mut budget = u64::from(self.limits.step_tokens);
        let mut at = 0;
        while at < self.running.len() && budget > 0 {
            if self.compute(at, &mut budget, &mut work, events).is_ok() {
                at += 1;
            } else {
                // Nothing was taken. Preempt the newest sequence and try again. The newest is at `at` or after it, so
                // this step has planned nothing for it yet and `work` stays right. If it is the one at `at`, it had
                // preempted all later ones before, and the loop ends.
                self.preempt(now, events);
            }
        }
        // A request that was just preempted is first in line, but is not admitted again in this step: its prompt now
        // includes what it had generated, and there is no more room than when it was preempted.
        if self.waiting.len() > 0 {
            self.admit(now, &mut budget, &mut work, events);
        }
        work
    }

    /// Admits waiting requests in turn, as long as the step has tokens left and the pool has room for the whole prompt.
    ///
    /// Stops at the first request that does not fit: a later, smaller one would otherwise overtake it for ever.
    fn admit(&mut self, now: u64, budget: &mut u64, work: &mut Work, events: &mut Vec<EventData>) {
        let block_size = self.block_size;
        let blocks = |tokens: u64| tokens.div_ceil(block_size) as usize;
        let mut sequences: u32 = self.running.iter().map(|running| running.samples).sum();
        // Blocks that admitted prompts will still take in later steps. They are not taken yet, so `available` counts
        // them; without this sum two long prompts would be admitted into the room of one, and preempt each other.
        let mut promised: usize =
            self.running.iter().map(|running| blocks(running.task.known()) - running.sequence.blocks()).sum();
        while *budget > 0
            && let Some(task) = self.waiting.peek()
        {
            let samples = if task.generated == 0 { task.request.samples } else { 1 };
            // The last token is computed even if its block is cached: sampling the next token needs its output.
            let reusable = (task.known() - 1) / block_size;
            let prefix = self.pool.prefix(&task.names(reusable)[..reusable as usize]);
            let needed = blocks(task.known()) - prefix.blocks;
            // Attaching to cached blocks takes the idle ones among them from what can be evicted.
            if sequences + samples > self.limits.batch || needed + prefix.evictable + promised > self.pool.available() {
                return;
            }
            let mut task = self.waiting.pop().expect("peek returned a task");
            let sequence = self.pool.attach(&task.names(reusable)[..reusable as usize]);
            task.cached_tokens.get_or_insert(sequence.tokens());
            task.scheduled_ns.get_or_insert(now);
            work.prompts += 1;
            sequences += samples;
            promised += needed;
            self.running.push(Running { task, sequence, samples, planned: false });
            let newest = self.running.len() - 1;
            let before = self.running[newest].sequence.blocks();
            self.compute(newest, budget, work, events).expect("there is room for the whole prompt");
            promised -= self.running[newest].sequence.blocks() - before;
        }
    }

    /// Plans as much of a running sequence as the budget and the chunk size allow, and takes the blocks for it.
    ///
    /// # Errors
    /// [`Shortage`] if the pool lacks blocks. Nothing has changed then.
    fn compute(
        &mut self,
        at: usize,
        budget: &mut u64,
        work: &mut Work,
        events: &mut Vec<EventData>,
    ) -> Result<(), Shortage> {
        let running = &mut self.running[at];
        let tokens = running.left().min(*budget).min(self.limits.chunk_tokens.into());
        let decodes = running.left() == 1 && running.task.generated > 0;
        let (before, blocks) = (running.sequence.tokens(), running.sequence.blocks());
        let names = running.task.names((before + tokens) / self.block_size);
        self.pool.extend(&mut running.sequence, tokens, names, events)?;
        running.planned = true;
        *budget -= tokens;
        if decodes {
            work.decoded += 1;
        } else {
            work.prompt_tokens += tokens;
            work.prompt_blocks += (running.sequence.blocks() - blocks) as u64;
        }
        work.context += before + tokens;
        // Each new token attends to all tokens before it and to itself.
        work.pairs += tokens * before + tokens * (tokens + 1) / 2;
        Ok(())
    }

    /// Takes the blocks of the newest running sequence and puts its request back in the queue, before all that have not
    /// started.
    ///
    /// It keeps the tokens that it has generated; they are computed again as part of its prompt. Its full blocks stay
    /// cached until they are evicted, so when it is admitted again it finds what is left of them. Its partial last
    /// block is freed.
    fn preempt(&mut self, now: u64, events: &mut Vec<EventData>) {
        let Some(Running { mut task, sequence, .. }) = self.running.pop() else { return };
        self.pool.detach(sequence, now, events);
        task.preempted += 1;
        self.waiting.push(task, &self.limits);
    }

    /// Ends the step: every planned sequence that has no token left to compute samples its next one.
    ///
    /// A prompt of several samples forks here, when all of it is computed, so that the samples share its blocks.
    pub(super) fn complete(&mut self, now: u64, events: &mut Vec<EventData>) -> Progress {
        let mut progress = Progress::default();
        let mut forks = Vec::new();
        let mut over = false;
        for running in &mut self.running {
            if !mem::take(&mut running.planned) || running.left() > 0 {
                continue;
            }
            for sample in 1..mem::replace(&mut running.samples, 1) {
                let mut task = running.task.fork(sample);
                task.generated += 1;
                task.first_token_ns = Some(now);
                let sequence = self.pool.fork(&running.sequence);
                forks.push(Running { task, sequence, samples: 1, planned: false });
            }
            running.task.generated += 1;
            if running.task.first_token_ns.is_none() {
                running.task.first_token_ns = Some(now);
                progress.first_tokens.push(running.task.ticket);
            } else if (running.task.generated - 1).is_multiple_of(self.block_size) {
                progress.longer.push(running.task.ticket);
            }
            over |= running.task.is_complete();
        }
        self.running.append(&mut forks);
        if over {
            for ended in self.running.extract_if(.., |running| running.task.is_complete()) {
                progress.finished.push(ended.task.finished(now));
                self.pool.detach(ended.sequence, now, events);
            }
        }
        progress
    }

    /// Empties the cache. Running requests are preempted and start again.
    pub(super) fn clear(&mut self, now: u64) {
        // The caller publishes `Cleared`, which covers every eviction.
        let mut unpublished = Vec::new();
        while !self.running.is_empty() {
            self.preempt(now, &mut unpublished);
        }
        self.pool.clear();
    }
}
