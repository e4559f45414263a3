//! Settings of an engine.

use thiserror::Error;

use super::{Constant, Latency, Rates};

/// Settings of an engine.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Tokens in a block. Default 16.
    pub block_size: u32,
    /// Blocks in the pool. Default 924, as for `llama-2-13b@a100-40g`; see [`Profile`](super::Profile).
    pub blocks: u32,
    /// The most tokens to keep in blocks that no running request refers to; the least recently used are evicted first.
    /// Default `None`: as many as the pool holds.
    pub cached_tokens: Option<u64>,
    /// How a second copy of a cached block is published. Default [`Copies::Announced`].
    pub copies: Copies,
    /// Seeds the sequence hashes: engines with different seeds name the same block differently. Default 0.
    pub seed: u64,
    /// Sizes of steps, batches and queues.
    pub limits: Limits,
    /// Limits on the arrival rate. Default no limit.
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

/// How a second physical copy of a block is published.
///
/// Two requests that compute the same block at the same time fill one slot each. A prompt that is cached to its last
/// token fills a second copy of its last block, because that token must be computed to sample the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copies {
    /// Every copy is published as stored and as removed, as in vLLM. A listener that does not count copies believes
    /// that the block is gone when the first copy is evicted.
    Announced,
    /// The first copy is published as stored, and the last one as removed.
    Merged,
}

/// Sizes of steps, batches and queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most tokens that a step computes, prompts and decoding together. Default 8,192.
    pub step_tokens: u32,
    /// The most tokens of one prompt that a step computes. Default 8,192.
    pub chunk_tokens: u32,
    /// The most sequences that run at a time. Default 256.
    pub batch: u32,
    /// The most requests that wait at a time. Default 2^20.
    pub waiting: u32,
    /// How much later another request may arrive and still go first, in nanoseconds, for every level of
    /// [`Request::priority`](super::Request::priority). Default 100 ms.
    pub yield_ns: u64,
    /// The most that a request yields, in nanoseconds, whatever its priority: nothing that arrives later than this
    /// overtakes it. Default 10 s.
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

/// Checks that every value is finite and not below its minimum.
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
