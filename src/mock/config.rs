//! What an engine is like.

use thiserror::Error;

use super::{Constant, Latency, Rates};

/// What an engine is like.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Tokens in a block. Default 16.
    pub block_size: u32,
    /// Blocks of the pool. Default 924, those of `llama-2-13b@a100-40g`; see [`Profile`](super::Profile).
    pub blocks: u32,
    /// Tokens to keep at most in blocks that no running request refers to; the least recently used go first. Default
    /// `None`: as many as the pool holds.
    pub cached_tokens: Option<u64>,
    /// What is said of a block that is there already when it fills again. Default [`Copies::Announced`].
    pub copies: Copies,
    /// Sets the engine's names for blocks apart from those of engines with another seed. Default 0.
    pub seed: u64,
    /// Sizes of steps, batches and queues.
    pub limits: Limits,
    /// What may arrive in a time. Default no limit.
    pub rates: Rates,
    /// How long a step takes. Default [`Constant::LLAMA_2_13B`].
    pub latency: Latency,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            block_size: 16,
            blocks: 924,
            cached_tokens: None,
            copies: Copies::Announced,
            seed: 0,
            limits: Limits::default(),
            rates: Rates::default(),
            latency: Latency::Constant(Constant::LLAMA_2_13B),
        }
    }
}

/// What is said of a second physical copy of a block.
///
/// Two requests that compute the same blocks at the same time fill one slot each. So does a prompt that is cached to
/// its last token, because that token must be computed to know the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copies {
    /// Every copy is stored, and every copy is removed, as vLLM says it: a listener that knows one copy only takes the
    /// block for gone when the first of them goes.
    Announced,
    /// The first is stored and the last removed.
    Merged,
}

/// Sizes of steps, batches and queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Tokens that a step computes at most, prompts and decoding together. Default 8,192.
    pub step_tokens: u32,
    /// Tokens of one prompt that a step computes at most. Default 8,192.
    pub chunk_tokens: u32,
    /// Sequences that run at a time. Default 256.
    pub batch: u32,
    /// Requests that wait at a time. Default 2^20.
    pub waiting: u32,
    /// For every level of [`Request::priority`](super::Request::priority), how much later than it a request may arrive
    /// and still go first, in nanoseconds. Default 100 ms.
    pub yield_ns: u64,
    /// The most of that, whatever the priority: this bounds what can overtake a request. Default 10 s.
    pub patience_ns: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            step_tokens: 8192,
            chunk_tokens: 8192,
            batch: 256,
            waiting: 1 << 20,
            yield_ns: 100_000_000,
            patience_ns: 10_000_000_000,
        }
    }
}

impl Config {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let Self { limits, rates, .. } = self;
        let counts = [
            ("block_size", self.block_size),
            ("blocks", self.blocks),
            ("limits.step_tokens", limits.step_tokens),
            ("limits.chunk_tokens", limits.chunk_tokens),
            ("limits.batch", limits.batch),
            ("limits.waiting", limits.waiting),
        ];
        if let Some(&(setting, _)) = counts.iter().find(|(_, count)| *count == 0) {
            return Err(ConfigError::Zero { setting });
        }
        if rates.window_ns == 0 {
            return Err(ConfigError::Zero { setting: "rates.window_ns" });
        }
        in_range(rates.numbers())?;
        self.latency.check()
    }
}

/// Whether every value is finite and not below its least one.
pub(super) fn in_range(numbers: Vec<(&'static str, f64, f64)>) -> Result<(), ConfigError> {
    match numbers.into_iter().find(|&(_, value, least)| !(value.is_finite() && value >= least)) {
        Some((setting, value, _)) => Err(ConfigError::OutOfRange { setting, value }),
        None => Ok(()),
    }
}

/// Why an engine cannot be built.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
pub enum ConfigError {
    /// A count that must be positive is zero.
    #[error("{setting} is 0; it must be at least 1")]
    Zero {
        /// The setting.
        setting: &'static str,
    },
    /// A time that is negative, a rate that is not positive, or a value that is not finite.
    #[error("{setting} is {value}; it must be finite, a rate above 0, anything else at least 0")]
    OutOfRange {
        /// The setting.
        setting: &'static str,
        /// Its value.
        value: f64,
    },
}
