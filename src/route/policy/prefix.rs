//! The longest matching prefix.

use super::scores::Scores;
use super::{Candidates, Policy, Random, Request};

/// `longest-prefix`: chooses the candidate that holds the most leading blocks of the prompt, in any tier. Ties go to
/// the one with the fewest requests in flight, and then to a random one.
///
/// It does not weigh load against overlap: if all prompts share a prefix that one worker holds, all go to that worker.
#[derive(Clone, Debug, Default)]
pub struct LongestPrefix {
    scores: Scores,
}

impl Policy for LongestPrefix {
    fn name(&self) -> &'static str {
        "longest-prefix"
    }

    fn why(&self) -> &'static str {
        "the most blocks of the prompt, of equals the fewest requests in flight"
    }

    fn choose(&mut self, _: &Request<'_>, candidates: &Candidates<'_>, random: &mut Random) -> Option<usize> {
        // Through `i32`, because processors have an instruction for that conversion.
        let negated = |&held: &u32| -(held.cast_signed() as f32);
        self.scores.set(candidates, candidates.held().iter().map(negated));
        self.scores.again(candidates.requests());
        self.scores.least(random)
    }
}
