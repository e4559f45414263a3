//! From prompts to rows, many at a time.

use std::io::Read;
use std::path::Path;

use rayon::prelude::*;
use serde::Deserialize;

use super::{Chains, Tokenizer};
use crate::trace::blocks::{BlockIds, Chain};
use crate::trace::error::{Form, Reason, TraceError};
use crate::trace::input::{Input, Progress};
use crate::trace::lines::Lines;
use crate::trace::{Row, ToolError};

const PROMPT: Form = Form {
    name: "a prompt",
    rule: "each line must be an object with the text prompt, and may have the integers timestamp and output_length, \
           none negative, and the text session_id",
};

/// How prompts are turned into rows.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Tokens that an id stands for; at least 1. Default 512.
    pub block_size: u32,
    /// Tokens of the answer, if the prompt does not say. Default 1.
    pub output_length: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { block_size: 512, output_length: 1 }
    }
}

/// Prompts, one on each line of a file as `{"prompt": "..."}`, plain or compressed with gzip or zstd.
///
/// `timestamp`, in milliseconds, `output_length`, in tokens, and `session_id` are kept if they are given.
#[derive(Debug)]
pub struct Prompts {
    lines: Lines,
}

impl Prompts {
    /// Opens the file at `path`; `-` is standard input.
    ///
    /// # Errors
    /// [`TraceError`] if the file cannot be opened or its first bytes cannot be read.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, TraceError> {
        Input::open(path.as_ref()).map(|input| Self { lines: Lines::new(input) })
    }

    /// Reads prompts from `reader`. Errors call the file `name`.
    ///
    /// # Errors
    /// [`TraceError`] if the first bytes cannot be read.
    pub fn from_reader(name: impl Into<String>, reader: impl Read + Send + 'static) -> Result<Self, TraceError> {
        Input::new(name.into(), reader, None).map(|input| Self { lines: Lines::new(input) })
    }

    /// Returns how far the reading has come.
    pub fn progress(&self) -> Progress {
        self.lines.progress()
    }

    /// Reads about [`BATCH`] bytes of lines, with their numbers; none at the end.
    fn batch(&mut self) -> Result<Vec<(u64, Vec<u8>)>, TraceError> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while bytes < BATCH
            && let Some(read) = self.lines.advance()
        {
            read?;
            bytes += self.lines.bytes().len();
            batch.push((self.lines.number(), self.lines.bytes().to_vec()));
        }
        Ok(batch)
    }
}

/// Bytes of prompts that all threads together tokenise at a time.
const BATCH: usize = 8 << 20;

#[derive(Deserialize)]
struct Prompt {
    #[serde(rename = "prompt")]
    text: String,
    #[serde(default)]
    timestamp: u64,
    output_length: Option<u32>,
    session_id: Option<String>,
}

struct Tokenised {
    prompt: Prompt,
    tokens: usize,
    chains: Vec<Chain>,
}

/// Turns prompts into rows, in order, and passes them to `write`.
///
/// The id of a block stands for its tokens and its whole prefix. Ids are 0, 1, 2, ... in the order of first appearance
/// over all prompts; a partial last block has one, too. All threads of rayon's pool tokenise. Memory grows with the
/// distinct ids.
///
/// # Errors
/// [`ToolError::Trace`] if a line is not a prompt or arrives before the previous one, [`ToolError::Option`] if the
/// block size is 0, and the errors of `write`. The prompts before the error have been written.
pub fn hash(
    mut prompts: Prompts,
    tokenizer: &Tokenizer,
    settings: &Settings,
    mut write: impl FnMut(Row) -> Result<(), ToolError>,
) -> Result<(), ToolError> {
    if settings.block_size == 0 {
        return Err(ToolError::Option { option: "--block-size", why: "is 0; it must be at least 1".to_owned() });
    }
    let mut ids = BlockIds::default();
    let mut previous = 0;
    loop {
        let batch = prompts.batch()?;
        if batch.is_empty() {
            return Ok(());
        }
        let tokenised: Vec<_> =
            batch.par_iter().map(|(_, line)| tokenise(line, tokenizer, settings.block_size)).collect();
        for ((line, _), tokenised) in batch.iter().zip(tokenised) {
            let fail = |(column, reason)| TraceError {
                name: prompts.lines.name().to_owned(),
                line: Some(*line),
                column,
                reason,
            };
            let Tokenised { prompt, tokens, chains } = tokenised.map_err(fail)?;
            let timestamp = prompt.timestamp;
            if timestamp < previous {
                return Err(fail((None, Reason::Unsorted { timestamp, previous })).into());
            }
            previous = timestamp;
            write(Row {
                timestamp,
                // Lines are too short for more tokens than this holds.
                input_length: tokens as u32,
                output_length: prompt.output_length.unwrap_or(settings.output_length),
                hash_ids: chains.into_iter().map(|chain| ids.id(chain)).collect(),
                session_id: prompt.session_id,
            })?;
        }
    }
}

fn tokenise(line: &[u8], tokenizer: &Tokenizer, block_size: u32) -> Result<Tokenised, (Option<usize>, Reason)> {
    let prompt: Prompt =
        serde_json::from_slice(line).map_err(|error| (Some(error.column()), Reason::of_json(&error, PROMPT)))?;
    let mut tokens = Vec::new();
    tokenizer.tokens(&prompt.text, &mut tokens).map_err(|why| (None, Reason::Malformed { why, form: PROMPT }))?;
    let mut chains = Chains::new(block_size);
    chains.extend(&tokens);
    Ok(Tokenised { prompt, tokens: tokens.len(), chains: chains.chains().collect() })
}
