//! One data-parallel rank: its engine, its requests, and what it has published.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use fastrand::Rng;

use super::encode::tokens;
use super::options::Options;
use super::state::{BlockState, Published, RankState};
use crate::event::{Event, EventData, Worker};
use crate::hash::{BlockHasher, hash_pair};
use crate::mock::{Config, Copies, Engine, Request};
use crate::replay::Workload;

/// Distinguishes the text of answers from that of prompts.
const ANSWER: u64 = 0x5A1D;

/// A data-parallel rank of a mock engine, and the batches that can be asked for.
#[derive(Debug)]
pub(super) struct Rank {
    options: Options,
    number: u16,
    engine: Engine,
    workload: Workload,
    served: u64,
    drops: Rng,
    pub(super) published: Published,
    /// By sequence hash, the parent, and the local hash in the workload, which is not that of the tokens.
    held: HashMap<u64, (Option<u64>, u64)>,
    /// The last batches, oldest first.
    buffer: VecDeque<(u64, Bytes)>,
}

impl Rank {
    /// Creates a rank. `options` must have been checked.
    pub(super) fn new(options: &Options, number: u16) -> Self {
        let config = Config {
            block_size: options.block_size,
            blocks: options.blocks,
            // Without copies, a listener knows exactly what is held.
            copies: Copies::Merged,
            seed: options.seed,
            ..Config::default()
        };
        let seed = hash_pair(options.seed, number.into());
        Self {
            engine: Engine::new(Worker::new(0, number.into()), config).expect("options are checked"),
            // The seed of the workload is fixed, so that all ranks and engines have the same system prompts.
            workload: Workload::new(0, options.block_size),
            options: options.clone(),
            number,
            served: 0,
            drops: Rng::with_seed(seed),
            published: Published::default(),
            held: HashMap::new(),
            buffer: VecDeque::new(),
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.options.requests.is_some_and(|requests| self.served >= requests)
    }

    /// Serves the next request to its end. Returns the batches to publish.
    pub(super) fn serve(&mut self) -> Vec<(u64, Bytes)> {
        let room = u64::from(self.options.blocks) * u64::from(self.options.block_size);
        // Ranks and engines skip different requests, so that they serve different parts of the same conversations.
        let skip = self.drops.usize(..4);
        let request = self.workload.by_ref().nth(skip).expect("the workload has no end");
        let input_tokens = request.input_length.min(room);
        let blocks = request.prompt.len().min(self.options.blocks as usize);
        let request = Request {
            prompt: request.prompt[..blocks].into(),
            input_tokens,
            // The last token of an answer is never stored.
            output_tokens: request.output_length.min(room - input_tokens + 1),
            text: hash_pair(hash_pair(ANSWER, self.options.seed), hash_pair(self.number.into(), self.served)),
            ..Request::default()
        };
        self.served += 1;
        let clock = self.engine.clock_ns();
        self.engine.submit(clock, request).expect("an idle engine without rates takes what fits");
        let mut batches = Vec::new();
        while let Some(step) = self.engine.step() {
            if !step.events.is_empty() {
                batches.extend(self.batch(&step.events));
            }
        }
        batches
    }

    /// Records and numbers a batch. Returns `None` if it is to be dropped.
    fn batch(&mut self, events: &[Event]) -> Option<(u64, Bytes)> {
        for Event { data, .. } in events {
            self.published.blocks += data.len() as u64;
            match data {
                EventData::Stored { parent, blocks } => {
                    let mut parent = *parent;
                    for block in blocks {
                        self.held.insert(block.sequence, (parent, block.local));
                        parent = Some(block.sequence);
                    }
                }
                EventData::Removed { blocks } => {
                    for block in blocks {
                        self.held.remove(block);
                    }
                }
                _ => self.held.clear(),
            }
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let batch = self.options.form.batch(now.as_secs_f64(), self.number, self.options.block_size, events);
        let sequence = self.published.batches;
        self.published.batches += 1;
        self.buffer.push_back((sequence, batch.clone()));
        if self.buffer.len() > self.options.buffer_steps {
            self.buffer.pop_front();
        }
        let dropped = self.drops.f64() < self.options.drop;
        self.published.dropped += u64::from(dropped);
        (!dropped).then_some((sequence, batch))
    }

    /// Returns every batch from this one on, as far back as they are kept.
    pub(super) fn replay(&self, from: u64) -> Vec<(u64, Bytes)> {
        self.buffer.iter().filter(|(sequence, _)| *sequence >= from).cloned().collect()
    }

    /// Returns what it holds.
    pub(super) fn state(&self) -> RankState {
        let hasher = BlockHasher::new(self.options.block_size).expect("options are checked");
        let block = |(&sequence, &(parent, local)): (&u64, &(Option<u64>, u64))| BlockState {
            sequence,
            parent,
            local: hasher.hash_block(&tokens(local, self.options.block_size)),
        };
        RankState { batches: self.published.batches, blocks: self.held.iter().map(block).collect() }
    }
}

pub(super) fn lock(rank: &Mutex<Rank>) -> MutexGuard<'_, Rank> {
    rank.lock().unwrap_or_else(PoisonError::into_inner)
}
