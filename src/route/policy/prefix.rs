//! The deepest match.

use super::least::least;
use super::{Candidates, Policy, Random, Request};

/// `longest-prefix`: the candidate that holds the most leading blocks of the prompt, in whatever tier; of equals, the one
/// with the fewest requests in flight, and of those, each with the same probability.
///
/// It does not weigh load against overlap: where all prompts share a prefix that one worker holds, all go there.
#[derive(Clone, Debug, Default)]
pub struct LongestPrefix {
    figures: Vec<f32>,
}

impl Policy for LongestPrefix {
    fn name(&self) -> &'static str {
        "longest-prefix"
    }

    fn why(&self) -> &'static str {
        "the most blocks of the prompt, of equals the fewest requests in flight"
    }

    fn choose(&mut self, _: &Request<'_>, candidates: &Candidates<'_>, random: &mut Random) -> Option<usize> {
        let deepest = candidates.iter().map(|seat| candidates.held()[seat]).max()?;
        self.figures.clear();
        let seats = candidates.held().iter().zip(candidates.fleet.loads());
        let figure =
            |(&held, load): (&u32, &super::Load)| if held == deepest { load.requests as f32 } else { f32::INFINITY };
        self.figures.extend(seats.map(figure));
        least(&mut self.figures, candidates, random)
    }
}
