//! Options for drawing requests from a model.

use super::Limits;
use crate::trace::ToolError;

/// Options for drawing requests from a model.
#[derive(Clone, Debug)]
pub struct Options {
    /// Number of requests to draw. At least 1, default 100,000.
    pub num_requests: u64,
    /// Factor by which time runs faster. Above 0, default 1.
    pub speedup_ratio: f64,
    /// Factor for the lengths of shared prefixes; paths are rounded to whole blocks. Above 0, default 1.
    pub prefix_len_multiplier: f64,
    /// Number of disjoint copies of the tree; each request picks one. At least 1, default 1.
    pub prefix_root_multiplier: u32,
    /// Factor for the lengths of unique prompts, which are rounded to whole blocks, at least one. Above 0, default 1.
    pub prompt_len_multiplier: f64,
    /// Limits on the lengths of prompts and answers.
    pub limits: Limits,
    /// How many consecutive requests are shuffled with each other. At least 1, default 100.
    pub shuffle: u32,
    /// Equal seeds give equal requests. Default 0.
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
    /// Checks that all options are in range.
    ///
    /// # Errors
    /// [`ToolError::Option`] names the first that is not.
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

pub(super) fn positive(option: &'static str, value: f64) -> Result<(), ToolError> {
    if value > 0.0 && value <= MOST {
        return Ok(());
    }
    Err(ToolError::Option { option, why: format!("is {value}; it must be above 0 and at most {MOST}") })
}

/// The largest factor or rate.
const MOST: f64 = 1e6;

pub(super) fn at_least_one(option: &'static str, value: u64) -> Result<(), ToolError> {
    if value > 0 {
        return Ok(());
    }
    Err(ToolError::Option { option, why: "is 0; it must be at least 1".to_owned() })
}
