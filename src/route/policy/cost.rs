//! The cost of a choice: what must be computed, and what is there already.

use super::scores::Scores;
use super::{Candidates, Policy, Random, Request};
use crate::route::ConfigError;

/// `cost`: the candidate at which the request costs the least, in blocks:
///
/// ```text
/// cost = prefill x (blocks of the prompt - credit for those held)
///      + decode  x decode blocks in flight
///      + queue   x (prefill tokens in flight / block size)
///      + request x requests in flight
/// ```
///
/// with the factors of [`Weights`]. Of equals, each has the same probability. With a temperature, a candidate has a
/// probability in proportion to `exp(-cost / temperature)`: near 0 the cheapest is chosen, and the higher it is, the
/// more alike all are. Costs have the 24 bits of an `f32`.
#[derive(Clone, Debug, Default)]
pub struct CostBased {
    weights: Weights,
    temperature: f32,
    scores: Scores,
}

/// The factors of [`CostBased`].
///
/// A block to be computed, in the prompt or in the queue, takes an engine much longer than a block in use takes it for
/// the answer. By how much depends on model, accelerator and length of answers; 8 is a compromise found by simulation.
/// Higher, the first token comes sooner and the load is less even. Of 2,000 requests of `kvleap simulate`'s
/// conversations, it reused 81% of the blocks; 1 reused 64%.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weights {
    /// Of a block of the prompt that must be computed. Default 8.
    pub prefill: f32,
    /// Of a block of the sequences in flight. Default 1.
    pub decode: f32,
    /// Of a block's worth of prefill tokens in flight. Default 8.
    pub queue: f32,
    /// Of a request in flight, in blocks. Default 0.
    pub request: f32,
}

impl Default for Weights {
    fn default() -> Self {
        Self { prefill: 8.0, decode: 1.0, queue: 8.0, request: 0.0 }
    }
}

impl CostBased {
    /// The policy with these weights and this temperature, which is in blocks, as costs are; 0, the default, chooses
    /// the cheapest.
    ///
    /// # Errors
    /// One of them is negative or no finite number.
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
            None => Ok(Self { weights, temperature, scores: Scores::default() }),
        }
    }
}

/// What a choice costs, in blocks: the terms of [`CostBased`], weighted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// For what must be computed of the prompt.
    pub prefill: f32,
    /// For the sequences in flight.
    pub decode: f32,
    /// For the prompts in flight.
    pub queue: f32,
    /// For the number of requests in flight.
    pub requests: f32,
}

impl Cost {
    /// The sum.
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
        self.scores.set(candidates, seats.map(cost));
        if per_request > 0.0 {
            for (score, &requests) in self.scores.values_mut().iter_mut().zip(candidates.requests()) {
                *score += per_request * requests;
            }
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

/// So many temperatures dearer, a candidate weighs too little to change the sum: 25 x ln 2, and an `f32` has 24 bits.
const NEGLIGIBLE: f32 = 17.33;

impl CostBased {
    /// Draws by the scores, which become the running sums of what the candidates weigh.
    fn draw(&mut self, random: &mut Random) -> Option<usize> {
        let least = self.scores.minimum();
        if least == f32::INFINITY {
            return None;
        }
        let mut sum = 0.0;
        let sums = self.scores.values_mut();
        for score in &mut *sums {
            let dearer = (*score - least) / self.temperature;
            // The cheapest weighs 1, so the sum is neither 0 nor infinite.
            if dearer < NEGLIGIBLE {
                sum += (-dearer).exp();
            }
            *score = sum;
        }
        let point = random.unit() * sum;
        // Those that weigh nothing have the sum of the one before, and so are never the first beyond the point.
        sums.iter().position(|&sum| sum > point)
    }
}
