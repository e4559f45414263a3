//! The cost of a choice: what must be computed, and what is there already.

use super::least::{least, minimum};
use super::{Candidates, Policy, Random, Request};

/// `cost`: the candidate at which the request costs the least, in blocks:
///
/// ```text
/// cost = prefill_weight x (blocks of the prompt - credit for those held)
///      + decode_weight  x decode blocks in flight
///      + queue_weight   x (prefill tokens in flight / block size)
///      + request_weight x requests in flight
/// ```
///
/// Of equals, each has the same probability. With a temperature, a candidate has a probability in proportion to
/// `exp(-cost / temperature)`: near 0 the cheapest is chosen, and the higher it is, the more alike all are. The
/// temperature is in blocks, as costs are. Costs have the 24 bits of an `f32`.
#[derive(Clone, Debug)]
pub struct CostBased {
    /// For a block of the prompt that must be computed. Default 1.
    pub prefill_weight: f32,
    /// For a block of the sequences in flight. Default 1.
    pub decode_weight: f32,
    /// For a block's worth of prefill tokens in flight. Default 1.
    pub queue_weight: f32,
    /// For a request in flight. Default 0.
    pub request_weight: f32,
    /// In blocks; 0 chooses the cheapest. Default 0.
    pub temperature: f32,
    /// Room for a figure for each seat.
    figures: Vec<f32>,
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

impl Default for CostBased {
    fn default() -> Self {
        Self {
            prefill_weight: 1.0,
            decode_weight: 1.0,
            queue_weight: 1.0,
            request_weight: 0.0,
            temperature: 0.0,
            figures: Vec::new(),
        }
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
        let Self { prefill_weight, decode_weight, queue_weight, request_weight, temperature, .. } = *self;
        self.figures.clear();
        let seats = candidates.credits().iter().zip(candidates.decode_blocks()).zip(candidates.queue_blocks());
        self.figures.extend(seats.map(|((&credit, &decode), &queue)| {
            prefill_weight * (blocks - credit) + decode_weight * decode + queue_weight * queue
        }));
        if request_weight > 0.0 {
            for (figure, load) in self.figures.iter_mut().zip(candidates.fleet.loads()) {
                *figure += request_weight * load.requests as f32;
            }
        }
        if temperature > 0.0 { self.draw(candidates, random) } else { least(&mut self.figures, candidates, random) }
    }

    fn cost(&self, request: &Request<'_>, candidates: &Candidates<'_>, seat: usize) -> Option<Cost> {
        Some(Cost {
            prefill: self.prefill_weight * (request.blocks.len() as f32 - candidates.credits()[seat]),
            decode: self.decode_weight * candidates.decode_blocks()[seat],
            queue: self.queue_weight * candidates.queue_blocks()[seat],
            requests: self.request_weight * candidates.load(seat).requests as f32,
        })
    }
}

impl CostBased {
    /// Draws by the costs in `figures`, which become the running sums of what the candidates weigh.
    fn draw(&mut self, candidates: &Candidates<'_>, random: &mut Random) -> Option<usize> {
        candidates.mask().overwrite_others(&mut self.figures, f32::INFINITY);
        let least = minimum(&self.figures);
        if least == f32::INFINITY {
            return None;
        }
        let mut sum = 0.0;
        for figure in &mut self.figures {
            // The cheapest weighs 1, so the sum is neither 0 nor infinite.
            sum += ((least - *figure) / self.temperature).exp();
            *figure = sum;
        }
        let point = random.unit() as f32 * sum;
        // Those that weigh nothing have the sum of the one before, and so are never the first beyond the point.
        self.figures.iter().position(|&sum| sum > point)
    }
}
