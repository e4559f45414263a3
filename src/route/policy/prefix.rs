//! The deepest match.

use super::least::Figures;
use super::{Candidates, Policy, Random, Request};

/// `longest-prefix`: the candidate that holds the most leading blocks of the prompt, in whatever tier; of equals, the
/// one with the fewest requests in flight, and of those, each with the same probability.
///
/// It does not weigh load against overlap: where all prompts share a prefix that one worker holds, all go there.
#[derive(Clone, Debug, Default)]
pub struct LongestPrefix {
    figures: Figures,
}

impl Policy for LongestPrefix {
    fn name(&self) -> &'static str {
        "longest-prefix"
    }

    fn why(&self) -> &'static str {
        "the most blocks of the prompt, of equals the fewest requests in flight"
    }

    fn choose(&mut self, _: &Request<'_>, candidates: &Candidates<'_>, random: &mut Random) -> Option<usize> {
        // By way of `i32`, for which processors have an instruction.
        let negated = |&held: &u32| -(held.cast_signed() as f32);
        self.figures.set(candidates, candidates.held().iter().map(negated));
        let deepest = self.figures.minimum();
        for (figure, &requests) in self.figures.values_mut().iter_mut().zip(candidates.requests()) {
            *figure = if *figure > deepest { f32::INFINITY } else { requests };
        }
        self.figures.least(random)
    }
}
