//! A request to an engine, and its life there.

use thiserror::Error;

use crate::event::Block;
use crate::hash::hash_pair;

/// A request to an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Local hashes of the prompt's full blocks. Tokens after them are in a partial block, which is never looked up.
    pub prompt: Box<[u64]>,
    /// Tokens of the prompt; at least one, and at least those of its blocks, are assumed.
    pub input_tokens: u64,
    /// Tokens of the answer; 0 counts as 1.
    pub output_tokens: u64,
    /// Determines the content of the answer: the local hash of the `i`-th block after the prompt is derived from this
    /// and `i`, so equal prompts with equal texts get equal answers. Default 0.
    pub text: u64,
    /// Local hashes of the first blocks after the prompt, which take precedence over `text`. A later prompt that
    /// contains this answer has these blocks. Default none.
    pub answer: Box<[u64]>,
    /// How many different answers are sampled; 0 counts as 1. They share the blocks of the prompt. Default 1.
    pub samples: u32,
    /// Requests of priority 0 are served in the order of arrival; higher numbers yield to others, as
    /// [`Limits`](super::Limits) describes. Default 0.
    pub priority: u32,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            prompt: Box::default(),
            input_tokens: 0,
            output_tokens: 1,
            text: 0,
            answer: Box::default(),
            samples: 1,
            priority: 0,
        }
    }
}

impl Request {
    /// Returns how many blocks one sample has taken at its end: those of prompt and answer without the last token,
    /// whose keys and values are never computed.
    ///
    /// # Panics
    /// If `block_size` is 0.
    pub fn blocks(&self, block_size: u32) -> u64 {
        let tokens = self.prompt_tokens(block_size).saturating_add(self.output_tokens.max(1) - 1);
        tokens.div_ceil(block_size.into())
    }

    /// Tokens of the prompt, by the rule for [`input_tokens`](Self::input_tokens).
    fn prompt_tokens(&self, block_size: u32) -> u64 {
        let hashed = (self.prompt.len() as u64).saturating_mul(block_size.into());
        self.input_tokens.max(hashed).max(1)
    }
}

/// Why an engine refused a request. Its state has not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Prompt and answer need more blocks than the engine has.
    #[error("the request needs {blocks} blocks, but the engine has {capacity}: shorten it or add blocks")]
    TooLong {
        /// Blocks that it needs.
        blocks: u64,
        /// Blocks that the engine has.
        capacity: u64,
    },
    /// It asks for more samples than sequences may run at a time.
    #[error("{samples} samples are more than the {batch} sequences that run at a time: ask for fewer")]
    TooManySamples {
        /// Samples that were asked for.
        samples: u32,
        /// Sequences that may run at a time.
        batch: u32,
    },
    /// The waiting queue is full.
    #[error("{waiting} requests are waiting already: try again later")]
    QueueFull {
        /// How many wait.
        waiting: u32,
    },
    /// Too many requests arrived within the window.
    #[error("too many requests for the rate allowed: try again in {retry_ns} ns")]
    RequestRate {
        /// Nanoseconds until there is room.
        retry_ns: u64,
    },
    /// Too many tokens arrived within the window.
    #[error("too many tokens for the rate allowed: try again in {retry_ns} ns")]
    TokenRate {
        /// Nanoseconds until there is room.
        retry_ns: u64,
    },
    /// The request exceeds what a whole window admits.
    #[error("{tokens} tokens, but the rate allows {most} in a window: shorten the request or widen the window")]
    NeverAdmitted {
        /// Tokens that it needs.
        tokens: u64,
        /// Tokens that a window admits.
        most: u64,
    },
}

/// A sample that is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finished {
    /// The ticket that [`Engine::submit`](super::Engine::submit) returned.
    pub ticket: u64,
    /// The number of the sample, from 0.
    pub sample: u32,
    /// When the request arrived. All times are in nanoseconds.
    pub arrived_ns: u64,
    /// When it was first scheduled.
    pub scheduled_ns: u64,
    /// When it got its first token.
    pub first_token_ns: u64,
    /// When it got its last token.
    pub finished_ns: u64,
    /// Prompt tokens that were found in the cache when it was first scheduled.
    pub cached_tokens: u64,
    /// How often it was preempted: lost its blocks and started again.
    pub preempted: u32,
}

/// A sample that is waiting or running.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) ticket: u64,
    pub(super) sample: u32,
    pub(super) request: Request,
    pub(super) arrived_ns: u64,
    pub(super) first_token_ns: Option<u64>,
    /// When it was first scheduled.
    pub(super) scheduled_ns: Option<u64>,
    /// `None` until it is first scheduled.
    pub(super) cached_tokens: Option<u64>,
    pub(super) preempted: u32,
    /// Tokens of the answer so far.
    pub(super) generated: u64,
    /// Sequence and local hashes of its first blocks, as many as have been needed so far.
    names: Vec<Block>,
    seed: u64,
}

impl Task {
    /// Starts a task. `seed` stands for the parent of the first block in its sequence hash.
    pub(super) fn new(ticket: u64, arrived_ns: u64, mut request: Request, block_size: u32, seed: u64) -> Self {
        request.input_tokens = request.prompt_tokens(block_size);
        request.output_tokens = request.output_tokens.max(1);
        request.samples = request.samples.max(1);
        Self {
            ticket,
            sample: 0,
            request,
            arrived_ns,
            first_token_ns: None,
            scheduled_ns: None,
            cached_tokens: None,
            preempted: 0,
            generated: 0,
            names: Vec::new(),
            seed,
        }
    }

    /// Starts another sample of the same request, at the point that this one has reached.
    pub(super) fn fork(&self, sample: u32) -> Self {
        let mut request = self.request.clone();
        request.text = hash_pair(request.text, sample.into());
        request.answer = Box::default();
        Self { sample, request, names: self.names.clone(), ..*self }
    }

    /// Tokens known so far, all of which must be computed before the next one is sampled.
    pub(super) fn known(&self) -> u64 {
        self.request.input_tokens + self.generated
    }

    pub(super) fn is_complete(&self) -> bool {
        self.generated >= self.request.output_tokens
    }

    /// Returns the hashes of its first `blocks` blocks, and of any more that are known already.
    pub(super) fn names(&mut self, blocks: u64) -> &[Block] {
        let Self { names, request, seed, .. } = self;
        for position in names.len()..blocks as usize {
            let after_prompt = || {
                let position = position - request.prompt.len();
                let given = request.answer.get(position).copied();
                given.unwrap_or_else(|| hash_pair(request.text, position as u64))
            };
            let local = request.prompt.get(position).copied().unwrap_or_else(after_prompt);
            let before = names.last().map_or(*seed, |block| block.sequence);
            names.push(Block { sequence: hash_pair(before, local), local });
        }
        names
    }

    pub(super) fn finished(&self, now: u64) -> Finished {
        Finished {
            ticket: self.ticket,
            sample: self.sample,
            arrived_ns: self.arrived_ns,
            scheduled_ns: self.scheduled_ns.unwrap_or(now),
            first_token_ns: self.first_token_ns.unwrap_or(now),
            finished_ns: now,
            cached_tokens: self.cached_tokens.unwrap_or(0),
            preempted: self.preempted,
        }
    }
}
