//! Workloads out of recorded traces: JSON lines, plain or gzipped, one request each.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Deserialize;

use super::generated::mix;
use super::recorder::Recorder;
use super::{Source, Workload};

/// Tokens per block of the conversation and agentic traces.
const CONVERSATION_BLOCK: usize = 512;
const AGENTIC_BLOCK: usize = 64;

/// A trace that cannot be read.
#[derive(Debug)]
pub struct TraceError {
    path: PathBuf,
    line: usize,
    why: io::Error,
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path.display(), self.line, self.why)
    }
}

impl std::error::Error for TraceError {}

/// The conversation trace, each of its blocks split into blocks of 16 tokens.
pub fn conversation(source: &Source) -> Result<Workload, TraceError> {
    let play = Play { split: CONVERSATION_BLOCK / 16, block_size: 16, ..Play::conversation(source.quick) };
    Ok(play.run(&read(&source.conversation())?))
}

/// The conversation trace at its own block, with a cache of twice the tokens.
pub fn short(source: &Source) -> Result<Workload, TraceError> {
    let play = Play { capacity: 1_024, ..Play::conversation(source.quick) };
    Ok(play.run(&read(&source.conversation())?))
}

/// The agentic trace four times over, each time with content of its own.
pub fn agentic(source: &Source) -> Result<Workload, TraceError> {
    let play = Play {
        workers: 32,
        capacity: 32_768,
        block_size: AGENTIC_BLOCK,
        split: 1,
        repeats: if source.quick { 1 } else { 4 },
        requests: if source.quick { 60 } else { usize::MAX },
    };
    Ok(play.run(&read(&source.agentic())?))
}

impl Source {
    /// The file behind [`conversation`] and [`short`].
    pub fn conversation(&self) -> PathBuf {
        self.file("conversation_trace.jsonl")
    }

    /// The file behind [`agentic`].
    pub fn agentic(&self) -> PathBuf {
        self.file("agentic_dev.jsonl.gz")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.trace.clone().unwrap_or_else(|| self.traces.join(name))
    }
}

/// A request as recorded.
#[derive(Deserialize)]
struct Row {
    input_length: usize,
    output_length: usize,
    hash_ids: Vec<u64>,
}

fn read(path: &Path) -> Result<Vec<Row>, TraceError> {
    let fail = |line, why| TraceError { path: path.to_path_buf(), line, why };
    let file = File::open(path).map_err(|why| fail(0, why))?;
    BufReader::new(plain(path, file))
        .lines()
        .enumerate()
        .map(|(index, line)| {
            let row = line.and_then(|line| serde_json::from_str(&line).map_err(io::Error::from));
            row.map_err(|why| fail(index + 1, why))
        })
        .collect()
}

fn plain(path: &Path, file: File) -> Box<dyn Read> {
    if path.extension().is_some_and(|extension| extension == "gz") {
        Box::new(MultiGzDecoder::new(file))
    } else {
        Box::new(file)
    }
}

/// How a trace is played over a fleet.
struct Play {
    workers: usize,
    capacity: usize,
    /// Tokens per block in the end, and blocks per block of the trace.
    block_size: usize,
    split: usize,
    repeats: u64,
    requests: usize,
}

impl Play {
    fn conversation(quick: bool) -> Self {
        Self {
            workers: if quick { 16 } else { 128 },
            capacity: 16_384,
            block_size: CONVERSATION_BLOCK,
            split: 1,
            repeats: 1,
            requests: if quick { 400 } else { usize::MAX },
        }
    }

    fn run(&self, rows: &[Row]) -> Workload {
        let mut rng = StdRng::seed_from_u64(1);
        let mut recorder = Recorder::new(self.workers, self.capacity);
        for repeat in 0..self.repeats {
            // By the block before as well: a trace promises that an id contains its prefix, this does not rely on it.
            let mut first_of = HashMap::<(Option<u32>, u64), u32>::new();
            for (request, row) in rows.iter().take(self.requests).enumerate() {
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
                path.truncate(row.input_length / self.block_size);
                let prompt = path.len();
                if prompt == 0 {
                    continue;
                }
                for index in 0..(row.output_length / self.block_size) as u64 {
                    let local = mix(mix(1 << 62 | repeat << 48 | request as u64) + index);
                    path.push(recorder.block(path.last().copied(), local));
                }
                recorder.request(rng.random_range(0..self.workers), &path, prompt);
            }
        }
        recorder.finish(self.block_size as u32)
    }
}
