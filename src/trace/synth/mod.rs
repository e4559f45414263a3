//! Traces like a given one, and traces from scratch.
//!
//! [`Model::learn`] learns the empirical distributions of a trace: the tree of its shared prefixes and where requests
//! leave it, lengths of unique prompts and of answers, arrivals. [`Model::requests`] draws requests from it.
//!
//! ```
//! use kvleap::trace::{Rows, synth::{Model, Options}};
//!
//! let text = concat!(
//!     r#"{"timestamp": 0, "input_length": 1100, "output_length": 5, "hash_ids": [0, 1, 2]}"#, "\n",
//!     r#"{"timestamp": 9, "input_length": 1030, "output_length": 5, "hash_ids": [0, 1, 3]}"#,
//! );
//! let model = Model::learn(Rows::from_reader("example", text.as_bytes())?, 512, |_| {})?;
//! let requests = model.requests(&Options { num_requests: 100, ..Options::default() })?;
//! let requests = requests.collect::<Result<Vec<_>, _>>()?;
//! assert!(requests.len() == 100 && requests.iter().all(|row| row.hash_ids.len() == 3));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`scenario`] needs no source.

mod generate;
mod model;
pub mod scenario;
mod tree;

pub use generate::Requests;
pub use model::{Model, Shape};

use std::iter;

use super::{Row, ToolError};

/// Requests in vain, one after another, before it is given up.
const PATIENCE: u64 = 1 << 20;

/// How to draw requests from a model.
#[derive(Clone, Debug)]
pub struct Options {
    /// Requests to draw. At least 1, default 100,000.
    pub num_requests: u64,
    /// Time runs this much faster. Above 0, default 1.
    pub speedup_ratio: f64,
    /// The lengths of shared prefixes, multiplied; paths are rounded to whole blocks. Above 0, default 1.
    pub prefix_len_multiplier: f64,
    /// Disjoint copies of the tree; each request picks one. At least 1, default 1.
    pub prefix_root_multiplier: u32,
    /// The lengths of unique prompts, multiplied and rounded to whole blocks, at least one. Above 0, default 1.
    pub prompt_len_multiplier: f64,
    /// What may be of what length.
    pub limits: Limits,
    /// How many requests may change places with each other, at least 1. Default 100.
    pub shuffle: u32,
    /// Equal seeds, equal requests. Default 0.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            num_requests: 100_000,
            speedup_ratio: 1.0,
            prefix_len_multiplier: 1.0,
            prefix_root_multiplier: 1,
            prompt_len_multiplier: 1.0,
            limits: Limits::default(),
            shuffle: 100,
            seed: 0,
        }
    }
}

impl Options {
    /// Whether the options are in their ranges.
    ///
    /// # Errors
    /// [`ToolError::Option`].
    pub fn check(&self) -> Result<(), ToolError> {
        positive("--speedup-ratio", self.speedup_ratio)?;
        positive("--prefix-len-multiplier", self.prefix_len_multiplier)?;
        positive("--prompt-len-multiplier", self.prompt_len_multiplier)?;
        at_least_one("--prefix-root-multiplier", self.prefix_root_multiplier.into())?;
        at_least_one("--requests", self.num_requests)?;
        at_least_one("--shuffle", self.shuffle.into())?;
        self.limits.check()
    }
}

impl Model {
    /// Requests like those that the model was learnt from.
    ///
    /// # Errors
    /// [`ToolError::Option`] when an option is out of its range. The iterator gives [`ToolError::NothingPasses`] when
    /// a million requests in a row do not pass the limits.
    pub fn requests(&self, options: &Options) -> Result<Requests<'_>, ToolError> {
        options.check()?;
        Ok(Requests::new(self, options))
    }
}

/// Lengths in tokens that requests may have.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Requests with shorter prompts are left out. Default 0.
    pub min_isl: u32,
    /// Requests with longer prompts are left out. Default none.
    pub max_isl: u32,
    /// The lengths of answers, multiplied. Above 0, default 1.
    pub osl_multiplier: f64,
    /// Shorter answers get this length. Default 0.
    pub min_osl: u32,
    /// Longer answers get this length. Default none.
    pub max_osl: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { min_isl: 0, max_isl: u32::MAX, osl_multiplier: 1.0, min_osl: 0, max_osl: u32::MAX }
    }
}

impl Limits {
    fn check(&self) -> Result<(), ToolError> {
        positive("--osl-multiplier", self.osl_multiplier)?;
        for (option, min, max) in [("--min-isl", self.min_isl, self.max_isl), ("--min-osl", self.min_osl, self.max_osl)]
        {
            if min > max {
                return Err(ToolError::Option { option, why: format!("is {min}, above the maximum {max}") });
            }
        }
        Ok(())
    }

    /// The length of a prompt, if it passes.
    fn input(&self, length: u64) -> Option<u32> {
        u32::try_from(length).ok().filter(|length| (self.min_isl..=self.max_isl).contains(length))
    }

    /// The length of an answer. A float too large for it becomes the largest.
    fn output(&self, length: u32) -> u32 {
        let length = (f64::from(length) * self.osl_multiplier).round() as u32;
        length.clamp(self.min_osl, self.max_osl)
    }
}

fn positive(option: &'static str, value: f64) -> Result<(), ToolError> {
    if value > 0.0 && value <= MOST {
        return Ok(());
    }
    Err(ToolError::Option { option, why: format!("is {value}; it must be above 0 and at most {MOST}") })
}

/// The largest multiplier and rate.
const MOST: f64 = 1e6;

fn at_least_one(option: &'static str, value: u64) -> Result<(), ToolError> {
    if value > 0 {
        return Ok(());
    }
    Err(ToolError::Option { option, why: "is 0; it must be at least 1".to_owned() })
}

/// So many rows that pass the limits. Where a million in a row do not, an error ends them.
fn limited(
    mut rows: impl Iterator<Item = Row>,
    limits: Limits,
    mut left: u64,
) -> impl Iterator<Item = Result<Row, ToolError>> {
    iter::from_fn(move || {
        left = left.checked_sub(1)?;
        let (mut shortest, mut longest) = (u64::MAX, 0);
        for _ in 0..PATIENCE {
            let mut row = rows.next()?;
            let input_length = row.input_length.into();
            if limits.input(input_length).is_some() {
                row.output_length = limits.output(row.output_length);
                return Some(Ok(row));
            }
            (shortest, longest) = (shortest.min(input_length), longest.max(input_length));
        }
        left = 0;
        Some(Err(ToolError::NothingPasses { drawn: PATIENCE, shortest, longest }))
    })
}
