//! The least cost: what a worker must compute for the request, plus what it is busy with.
//!
//! A choice is a pass over arrays by seat that the compiler vectorises, one term at a time, rather than a loop over the
//! candidates with a branch for each. Seats that are not candidates are computed, too, and then overwritten by
//! infinity.

use super::scores::Scores;
use super::{Candidates, Policy, Random, Request};
use crate::route::ConfigError;

/// `cost`: chooses the candidate at which the request costs the least, in blocks:
///
/// ```text
/// cost = prefill x (blocks of the prompt - credit for those held)
///      + decode  x decode blocks in flight
///      + queue   x (prefill tokens in flight / block size)
///      + request x requests in flight
/// ```
///
/// with the factors of [`Weights`]. Ties are broken at random. With a temperature, each candidate is chosen with a
/// probability proportional to `exp(-cost / temperature)` (softmax): near 0 that is the cheapest one, and the higher
/// the temperature, the more even are the probabilities. Costs have the 24 bits of an `f32`.
#[derive(Clone, Debug, Default)]
pub struct CostBased {
    weights: Weights,
    temperature: f32,
    scores: Scores,
    /// The seats that have a weight in a draw, with the sum of the weights up to there.
    sums: Vec<(u32, f32)>,
}

/// The factors of [`CostBased`].
///
/// Computing a block, of the prompt or in the queue, takes an engine much longer than attending to a block in use while
/// it decodes. The ratio depends on the model, the accelerator and the length of answers; 8 is a compromise found by
/// simulation. Higher weights shorten the time to the first token and balance the load less evenly. Over 2,000
/// requests of `kvleap simulate`'s conversations, 8 reused 81% of the blocks, and 1 reused 64%.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weights {
    /// For each block of the prompt that must be computed. Default 8.
    pub prefill: f32,
    /// For each block of the sequences in flight. Default 1.
    pub decode: f32,
    /// For each block's worth of prefill tokens in flight. Default 8.
    pub queue: f32,
    /// For each request in flight. Default 0.
    pub request: f32,
}

impl Default for Weights {
    fn default() -> Self {
        Self { prefill: 8.0, decode: 1.0, queue: 8.0, request: 0.0 }
    }
}

impl CostBased {
    /// Creates the policy with these weights and a temperature, which is in blocks, as costs are. At 0, the default,
    /// the cheapest candidate is always chosen.
    ///
    /// # Errors
    /// [`ConfigError`] if a weight or the temperature is negative or not finite.
    pub fn new(weights: Weights, temperature: f32) -> Result<Self, ConfigError> {
        let Weights { prefill, decode, queue, request } = weights;
        let settings = [
            ("prefill", prefill),
            ("decode", decode),
            ("queue", queue),
            ("request", request),
            ("temperature", temperature),
        ];
        match settings.into_iter().find(|&(_, value)| !(value.is_finite() && value >= 0.0)) {
            Some((name, value)) => Err(ConfigError::OutOfRange { name, value: value.into(), least: 0.0 }),
            None => Ok(Self { weights, temperature, ..Self::default() }),
        }
    }
}

/// What a choice costs, in blocks: the weighted terms of [`CostBased`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// For the blocks of the prompt that must be computed.
    pub prefill: f32,
    /// For the sequences in flight.
    pub decode: f32,
    /// For the prompts in flight.
    pub queue: f32,
    /// For the number of requests in flight.
    pub requests: f32,
}

impl Cost {
    /// Sum of all terms.
    pub fn total(&self) -> f32 {
        self.prefill + self.decode + self.queue + self.requests
    }
}

impl Policy for CostBased {
    fn name(&self) -> &'static str {
        "cost"
    }

    fn why(&self) -> &'static str {
        if self.temperature > 0.0 { "a draw by cost" } else { "the lowest cost" }
    }

    fn choose(&mut self, request: &Request<'_>, candidates: &Candidates<'_>, random: &mut Random) -> Option<usize> {
        let blocks = request.blocks.len() as f32;
        let Weights { prefill, decode, queue, request: per_request } = self.weights;
        let seats = candidates.credits().iter().zip(candidates.decode_blocks()).zip(candidates.queue_blocks());
        let cost = |((&credit, &decoding), &queued)| prefill * (blocks - credit) + decode * decoding + queue * queued;
        // The default has no term for requests.
        if per_request > 0.0 {
            let seats = seats.zip(candidates.requests());
            self.scores.set(candidates, seats.map(|(seat, &requests)| cost(seat) + per_request * requests));
        } else {
            self.scores.set(candidates, seats.map(cost));
        }
        if self.temperature > 0.0 { self.draw(random) } else { self.scores.least(random) }
    }

    fn cost(&self, request: &Request<'_>, candidates: &Candidates<'_>, seat: usize) -> Option<Cost> {
        Some(Cost {
            prefill: self.weights.prefill * (request.blocks.len() as f32 - candidates.credits()[seat]),
            decode: self.weights.decode * candidates.decode_blocks()[seat],
            queue: self.weights.queue * candidates.queue_blocks()[seat],
            requests: self.weights.request * candidates.requests()[seat],
        })
    }
}

/// A candidate whose cost is this many temperatures above the least has a weight below 2^-25, which does not change an
/// `f32` sum of at least 1: 25 x ln 2.
const NEGLIGIBLE: f32 = 17.33;

impl CostBased {
    /// Draws a candidate by inverting the cumulative distribution: the choice is the first one at which the running sum
    /// of the weights is beyond a random point.
    fn draw(&mut self, random: &mut Random) -> Option<usize> {
        let least = self.scores.minimum();
        if least == f32::INFINITY {
            return None;
        }
        let mut sum = 0.0;
        self.sums.clear();
        // Most candidates are so dear that no exponential is needed. The factor leaves room for rounding.
        self.scores.within(least, 1.01 * NEGLIGIBLE * self.temperature, |seat, score| {
            let dearer = (score - least) / self.temperature;
            // Relative to the least cost, so that the cheapest weighs 1 and the sum is neither 0 nor infinite.
            if dearer < NEGLIGIBLE {
                sum += (-dearer).exp();
                self.sums.push((seat as u32, sum));
            }
        });
        let point = random.unit() * sum;
        self.sums.iter().find(|&&(_, sum)| sum > point).map(|&(seat, _)| seat as usize)
    }
}
