//! Makes workloads from recorded traces.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use kvleap::trace::{TraceError, open};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::generated::mix;
use super::recorder::Recorder;
use super::{Source, Workload};

/// Tokens per block of the conversation trace.
const CONVERSATION_BLOCK: usize = 512;
/// Tokens per block of the agentic trace.
const AGENTIC_BLOCK: usize = 64;

/// Plays the conversation trace, with each of its blocks split into blocks of 16 tokens.
pub fn conversation(source: &Source) -> Result<Workload, TraceError> {
    let play = Play { split: CONVERSATION_BLOCK / 16, block_size: 16, ..Play::conversation(source.quick) };
    play.run(&source.conversation())
}

/// Plays the conversation trace in its own blocks, with caches for twice the tokens.
pub fn short(source: &Source) -> Result<Workload, TraceError> {
    let play = Play { capacity: 1_024, ..Play::conversation(source.quick) };
    play.run(&source.conversation())
}

/// Plays the agentic trace four times, each time with different content.
pub fn agentic(source: &Source) -> Result<Workload, TraceError> {
    let play = Play {
        workers: 32,
        capacity: 32_768,
        block_size: AGENTIC_BLOCK,
        split: 1,
        repeats: if source.quick { 1 } else { 4 },
        requests: if source.quick { 30 } else { usize::MAX },
    };
    play.run(&source.agentic())
}

impl Source {
    /// Returns the trace of [`conversation`] and [`short`].
    pub fn conversation(&self) -> PathBuf {
        self.file("conversation_trace.jsonl")
    }

    /// Returns the trace of [`agentic`].
    pub fn agentic(&self) -> PathBuf {
        self.file("agentic_dev.jsonl.gz")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.trace.clone().unwrap_or_else(|| self.traces.join(name))
    }
}

/// How a trace is played over a fleet.
struct Play {
    workers: usize,
    capacity: usize,
    /// Tokens per block of the workload.
    block_size: usize,
    /// Blocks of the workload per block of the trace.
    split: usize,
    repeats: u64,
    requests: usize,
}

impl Play {
    fn conversation(quick: bool) -> Self {
        Self {
            workers: if quick { 8 } else { 128 },
            capacity: if quick { 4_096 } else { 16_384 },
            block_size: CONVERSATION_BLOCK,
            split: 1,
            repeats: 1,
            requests: if quick { 150 } else { usize::MAX },
        }
    }

    fn run(&self, trace: &Path) -> Result<Workload, TraceError> {
        let rows =
            open(trace, (self.block_size * self.split) as u32)?.take(self.requests).collect::<Result<Vec<_>, _>>()?;
        let mut rng = StdRng::seed_from_u64(1);
        let mut recorder = Recorder::new(self.workers, self.capacity);
        for repeat in 0..self.repeats {
            // The first block of each id, by the block before it, too: a trace promises that equal ids have equal
            // prefixes, but this does not rely on it.
            let mut first_of = HashMap::<(Option<u32>, u64), u32>::new();
            for (request, row) in rows.iter().enumerate() {
                let mut path = Vec::with_capacity(row.hash_ids.len() * self.split);
                for &id in &row.hash_ids {
                    let before = path.last().copied();
                    let first = *first_of.entry((before, id)).or_insert_with(|| {
                        let name = |index| mix(mix(repeat << 48 | id) + index);
                        let first = recorder.block(before, name(0));
                        for index in 1..self.split as u64 {
                            recorder.block(Some(first + index as u32 - 1), name(index));
                        }
                        first
                    });
                    path.extend(first..first + self.split as u32);
                }
                // A partial last block is never cached.
                path.truncate(row.input_length as usize / self.block_size);
                let prompt = path.len();
                if prompt == 0 {
                    continue;
                }
                for index in 0..u64::from(row.output_length) / self.block_size as u64 {
                    let local = mix(mix(1 << 62 | repeat << 48 | request as u64) + index);
                    path.push(recorder.block(path.last().copied(), local));
                }
                recorder.request(rng.random_range(0..self.workers), &path, prompt);
            }
        }
        Ok(recorder.finish(self.block_size as u32))
    }
}
