//! Continuous batching: what each step computes, and for whom.

use std::mem;

use super::pool::{Pool, Sequence, Shortage};
use super::request::Task;
use super::waiting::Waiting;
use super::{Config, Finished, Limits, Work};
use crate::event::EventData;

/// Requests that run, in the order in which they were admitted, and that wait.
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
    /// Sequences that it will have become once its prompt is computed.
    samples: u32,
    /// Whether the step under way computes a part of it.
    planned: bool,
}

/// What a step brought the requests.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Tickets of those whose first token is there.
    pub(super) first_tokens: Vec<u64>,
    /// Tickets of those whose answer is a block longer.
    pub(super) longer: Vec<u64>,
    pub(super) finished: Vec<Finished>,
}

impl Running {
    /// Tokens to compute until the next one is known.
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

    /// Decides what the next step computes, makes room for it, and says what that evicts and stores.
    pub(super) fn plan(&mut self, now: u64, events: &mut Vec<EventData>) -> Work {
        let mut work = Work::default();
        let mut budget = u64::from(self.limits.step_tokens);
        let mut at = 0;
        while at < self.running.len() && budget > 0 {
            if self.compute(at, &mut budget, &mut work, events).is_ok() {
                at += 1;
            } else {
                // The newest, which may be the one that lacks room, and was not planned in this step yet.
                self.preempt(now, events);
            }
        }
        // Who was preempted is next, but does not find more room than it was too much for.
        if self.waiting.len() > 0 {
            self.admit(now, &mut budget, &mut work, events);
        }
        work
    }

    /// Lets in who waits, in turn, as long as there is room for the whole prompt.
    fn admit(&mut self, now: u64, budget: &mut u64, work: &mut Work, events: &mut Vec<EventData>) {
        let block_size = self.block_size;
        let blocks = |tokens: u64| tokens.div_ceil(block_size) as usize;
        let mut sequences: u32 = self.running.iter().map(|running| running.samples).sum();
        // Blocks that prompts under way still need.
        let mut promised: usize =
            self.running.iter().map(|running| blocks(running.task.known()) - running.sequence.blocks()).sum();
        while *budget > 0
            && let Some(task) = self.waiting.peek()
        {
            let samples = if task.generated == 0 { task.request.samples } else { 1 };
            // The last token is computed even if it is cached: without it the next one is not known.
            let reusable = (task.known() - 1) / block_size;
            let prefix = self.pool.prefix(&task.names(reusable)[..reusable as usize]);
            let needed = blocks(task.known()) - prefix.blocks;
            if sequences + samples > self.limits.batch || needed + prefix.evictable + promised > self.pool.available() {
                return;
            }
            let mut task = self.waiting.pop().expect("there was a next one");
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

    /// Computes as much of one that runs as the step has room for.
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
        work.pairs += tokens * before + tokens * (tokens + 1) / 2;
        Ok(())
    }

    /// Takes the blocks of the newest and lets it wait again; what stays cached it will find.
    fn preempt(&mut self, now: u64, events: &mut Vec<EventData>) {
        let Some(Running { mut task, sequence, .. }) = self.running.pop() else { return };
        self.pool.detach(sequence, now, events);
        task.preempted += 1;
        self.waiting.push(task, &self.limits);
    }

    /// Ends the step: every prompt that is computed, and every sequence that decodes, has one more token.
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

    /// Empties the cache; what runs begins again.
    pub(super) fn clear(&mut self, now: u64) {
        // Nobody needs to hear of evictions: all is said to be gone.
        let mut unsaid = Vec::new();
        while !self.running.is_empty() {
            self.preempt(now, &mut unsaid);
        }
        self.pool.clear();
    }
}
