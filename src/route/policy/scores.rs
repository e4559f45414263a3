//! The least of many scores, with ties broken at random.

use super::{Candidates, Random};

/// Scores that are compared at a time, and scores of which one minimum is kept.
const LANES: usize = 16;
const CHUNK: usize = 64;

/// A score for each seat, and the space to find the least. Everything is a pass over all seats that vectorises, rather
/// than a loop with a branch for each.
#[derive(Clone, Debug, Default)]
pub(super) struct Scores {
    values: Vec<f32>,
    /// The minimum of every [`CHUNK`] of values.
    minima: Vec<f32>,
}

impl Scores {
    /// Sets the score of each seat. Seats that are not candidates get infinity.
    pub(super) fn set(&mut self, candidates: &Candidates<'_>, scores: impl ExactSizeIterator<Item = f32>) {
        // Overwriting vectorises; clearing and extending does not.
        self.values.resize(scores.len(), 0.0);
        self.values.iter_mut().zip(scores).for_each(|(value, score)| *value = score);
        candidates.mask().overwrite_others(&mut self.values, f32::INFINITY);
    }

    pub(super) fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }

    /// Returns the least score; infinity if no candidate has one.
    pub(super) fn minimum(&mut self) -> f32 {
        self.minima.clear();
        self.minima.extend(self.values.chunks(CHUNK).map(minimum));
        minimum(&self.minima)
    }

    /// Returns the candidate with the least score; ties are broken at random. `None` if no candidate has a score below
    /// infinity.
    #[allow(clippy::float_cmp, reason = "the least is one of the scores")]
    pub(super) fn least(&mut self, random: &mut Random) -> Option<usize> {
        let least = self.minimum();
        if least == f32::INFINITY {
            return None;
        }
        // Only the few chunks whose minimum it is are searched.
        let chunks = self.values.chunks(CHUNK).zip(&self.minima).enumerate().filter(|(_, (_, min))| **min == least);
        let mut seats = chunks.flat_map(|(index, (chunk, _))| {
            let equals = chunk.iter().enumerate().filter(|(_, value)| **value == least);
            equals.map(move |(place, _)| index * CHUNK + place)
        });
        let count = seats.clone().count();
        let pick = if count > 1 { random.below(count) } else { 0 };
        seats.nth(pick)
    }
}

fn minimum(values: &[f32]) -> f32 {
    // Not `f32::min`, which is slower because it handles NaN.
    let lesser = |a: f32, b: f32| if b < a { b } else { a };
    let mut lanes = [f32::INFINITY; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane = lesser(*lane, value);
        }
    }
    lanes.iter().chain(rest).copied().fold(f32::INFINITY, lesser)
}
