//! How long a step takes.

use super::Profile;
use super::config::{ConfigError, in_range};

/// The work of a step, over all of its requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Prompts started, including those that start again after a preemption.
    pub prompts: u64,
    /// Prompt tokens computed, without those found in the cache.
    pub prompt_tokens: u64,
    /// Blocks that these tokens fill or start; a block started in an earlier step is not counted again.
    pub prompt_blocks: u64,
    /// Tokens decoded, one for each sequence that decodes.
    pub decoded: u64,
    /// Tokens whose keys and values are read: for each sequence, all of its tokens so far.
    pub context: u64,
    /// Pairs of a computed token and a token that it attends to.
    pub pairs: u64,
}

/// How long a step takes.
#[derive(Clone, Debug, PartialEq)]
pub enum Latency {
    /// Constant costs of a prompt, a block and a step.
    Constant(Constant),
    /// A roofline: arithmetic or memory traffic, whichever takes longer.
    Roofline(Roofline),
}

/// A prompt takes `prefill_ms + blocks computed x prefill_block_ms`, and a step that decodes takes `decode_ms`,
/// whatever the batch. All are in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Constant {
    /// For each prompt started.
    pub prefill_ms: f64,
    /// For each block of a prompt that is not cached.
    pub prefill_block_ms: f64,
    /// For a step in which at least one sequence decodes.
    pub decode_ms: f64,
}

impl Constant {
    /// The constants for an emulated `llama-2-13b` with blocks of 16 tokens: 5.0, 2.5 and 15.0 ms.
    pub const LLAMA_2_13B: Self = Self { prefill_ms: 5.0, prefill_block_ms: 2.5, decode_ms: 15.0 };
}

/// A step takes `overhead + max(arithmetic / flops, bytes / bandwidth)`. Decoding is limited by memory bandwidth until
/// batches are large, because a batch reads the weights once; prompts are limited by arithmetic.
///
/// Arithmetic is `2 x active parameters` for each token, and `4 x layers x query heads x head size` for each pair of
/// tokens that attention compares (a product with the keys, and one with the values). Bytes are the weights, once, and
/// the keys and values of every sequence. This is the roofline model of Williams, Waterman and Patterson (2009),
/// applied to a transformer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Roofline {
    /// Operations per second that are achieved.
    pub flops: f64,
    /// Bytes per second that are achieved.
    pub bandwidth: f64,
    /// Milliseconds of a step that are spent on neither.
    pub overhead_ms: f64,
    /// Operations for a token.
    pub token_flops: f64,
    /// Operations for a pair of tokens.
    pub pair_flops: f64,
    /// Bytes of the weights.
    pub weight_bytes: f64,
    /// Bytes of a token's keys and values.
    pub token_bytes: f64,
}

impl Roofline {
    /// Assumes half of the accelerators' arithmetic, 80% of their bandwidth and 1 ms of overhead. Replace these by
    /// measurements if you have them.
    pub fn new(profile: &Profile) -> Self {
        let Profile { model, gpu, gpus, .. } = profile;
        let gpus = f64::from(*gpus);
        let width = f64::from(model.layers) * f64::from(model.query_heads) * f64::from(model.head_size);
        Self {
            flops: 0.5 * gpu.flops * gpus,
            bandwidth: 0.8 * gpu.bandwidth * gpus,
            overhead_ms: 1.0,
            token_flops: 2.0 * model.active_parameters as f64,
            pair_flops: 4.0 * width,
            weight_bytes: model.weight_bytes() as f64,
            token_bytes: model.token_bytes() as f64,
        }
    }
}

impl Latency {
    /// Returns how many nanoseconds a step with this work takes.
    #[allow(clippy::cast_sign_loss, reason = "times are checked not to be negative, and `as` saturates")]
    pub fn step_ns(&self, work: &Work) -> u64 {
        let milliseconds = match self {
            Self::Constant(constant) => {
                let decoding = if work.decoded > 0 { constant.decode_ms } else { 0.0 };
                work.prompts as f64 * constant.prefill_ms
                    + work.prompt_blocks as f64 * constant.prefill_block_ms
                    + decoding
            }
            Self::Roofline(roofline) => {
                let tokens = (work.prompt_tokens + work.decoded) as f64;
                let flops = tokens * roofline.token_flops + work.pairs as f64 * roofline.pair_flops;
                let bytes = roofline.weight_bytes + work.context as f64 * roofline.token_bytes;
                roofline.overhead_ms + 1e3 * (flops / roofline.flops).max(bytes / roofline.bandwidth)
            }
        };
        (milliseconds * 1e6).round() as u64
    }

    /// Returns the same model with every step taking `times` as long.
    #[must_use]
    pub fn slowed(&self, times: f64) -> Self {
        match *self {
            Self::Constant(Constant { prefill_ms, prefill_block_ms, decode_ms }) => Self::Constant(Constant {
                prefill_ms: prefill_ms * times,
                prefill_block_ms: prefill_block_ms * times,
                decode_ms: decode_ms * times,
            }),
            Self::Roofline(roofline) => Self::Roofline(Roofline {
                flops: roofline.flops / times,
                bandwidth: roofline.bandwidth / times,
                overhead_ms: roofline.overhead_ms * times,
                ..roofline
            }),
        }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        in_range(self.numbers())
    }

    /// The settings by name, each with its minimum.
    fn numbers(&self) -> Vec<(&'static str, f64, f64)> {
        let positive = f64::MIN_POSITIVE;
        match self {
            Self::Constant(constant) => vec![
                ("latency.prefill_ms", constant.prefill_ms, 0.0),
                ("latency.prefill_block_ms", constant.prefill_block_ms, 0.0),
                ("latency.decode_ms", constant.decode_ms, 0.0),
            ],
            Self::Roofline(roofline) => vec![
                ("latency.flops", roofline.flops, positive),
                ("latency.bandwidth", roofline.bandwidth, positive),
                ("latency.overhead_ms", roofline.overhead_ms, 0.0),
                ("latency.token_flops", roofline.token_flops, 0.0),
                ("latency.pair_flops", roofline.pair_flops, 0.0),
                ("latency.weight_bytes", roofline.weight_bytes, 0.0),
                ("latency.token_bytes", roofline.token_bytes, 0.0),
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_constants_add_up() {
        let latency = Latency::Constant(Constant::LLAMA_2_13B);
        let prompt = Work { prompts: 1, prompt_tokens: 100, prompt_blocks: 7, ..Work::default() };
        assert_eq!(latency.step_ns(&prompt), 22_500_000);
        assert_eq!(latency.step_ns(&Work { decoded: 1, ..Work::default() }), 15_000_000);
        assert_eq!(latency.step_ns(&Work { decoded: 64, ..prompt }), 37_500_000);
    }

    #[test]
    fn slowed_is_slower_in_everything() {
        let profile: Profile = "llama-3.1-8b@h100-80g".parse().unwrap();
        for latency in [Latency::Constant(Constant::LLAMA_2_13B), Latency::Roofline(Roofline::new(&profile))] {
            for work in [
                Work { prompts: 1, prompt_tokens: 9000, prompt_blocks: 563, ..Work::default() },
                Work { decoded: 3, context: 9000, ..Work::default() },
            ] {
                let (before, after) = (latency.step_ns(&work), latency.slowed(2.5).step_ns(&work));
                assert!((after as f64 / before as f64 - 2.5).abs() < 1e-6, "{latency:?}: {before}, {after}");
            }
            assert!(latency.slowed(0.0).check().is_ok() == matches!(latency, Latency::Constant(_)));
            assert!(latency.slowed(f64::NAN).check().is_err());
        }
    }

    #[test]
    fn decoding_is_bound_by_memory_and_prompts_by_arithmetic() {
        let profile: Profile = "llama-3.1-8b@h100-80g".parse().unwrap();
        let roofline = Roofline { overhead_ms: 0.0, ..Roofline::new(&profile) };
        let latency = Latency::Roofline(roofline);
        let decode = |batch| latency.step_ns(&Work { decoded: batch, context: batch * 1000, ..Work::default() });
        let near = |time: u64, expected: f64, slack: f64| (1.0..1.0 + slack).contains(&(time as f64 / 1e9 / expected));
        assert!(near(decode(1), 2.0 * 8.03e9 / (0.8 * 3.35e12), 0.02), "the weights are read: {} ns", decode(1));
        assert!(decode(16) < 2 * decode(1), "a batch shares them");
        let prompt =
            |tokens| latency.step_ns(&Work { prompt_tokens: tokens, pairs: tokens * tokens / 2, ..Work::default() });
        assert!(near(prompt(8192), 8192.0 * 2.0 * 8.03e9 / (0.5 * 989e12), 0.2), "{} ns", prompt(8192));
        assert!(prompt(65536) > 8 * prompt(8192), "attention grows with the square");
    }
}
