//! Policies that do not look at the prompt.

use super::scores::Scores;
use super::{Candidates, Policy, Random, Request};

/// `random`: chooses each candidate with the same probability.
#[derive(Clone, Copy, Debug, Default)]
pub struct RandomChoice;

/// `round-robin`: chooses the candidates in turn.
#[derive(Clone, Debug, Default)]
pub struct RoundRobin {
    /// The seat after that of the last choice.
    next: usize,
}

/// `least-loaded`: chooses the candidate with the fewest requests in flight; ties are broken at random.
#[derive(Clone, Debug, Default)]
pub struct LeastLoaded {
    scores: Scores,
}

/// `power-of-two`: draws two candidates at random and chooses the one with fewer requests in flight (Mitzenmacher, "The
/// Power of Two Choices in Randomized Load Balancing", 2001).
#[derive(Clone, Copy, Debug, Default)]
pub struct PowerOfTwo;

impl Policy for RandomChoice {
    fn name(&self) -> &'static str {
        "random"
    }

    fn why(&self) -> &'static str {
        "a draw among all candidates"
    }

    fn choose(&mut self, _: &Request<'_>, candidates: &Candidates<'_>, random: &mut Random) -> Option<usize> {
        let mask = candidates.mask();
        mask.nth(random.below(mask.len()))
    }
}

impl Policy for RoundRobin {
    fn name(&self) -> &'static str {
        "round-robin"
    }

    fn why(&self) -> &'static str {
        "its turn"
    }

    fn choose(&mut self, _: &Request<'_>, candidates: &Candidates<'_>, _: &mut Random) -> Option<usize> {
        let seat = candidates.mask().next_from(self.next)?;
        self.next = seat + 1;
        Some(seat)
    }
}

impl Policy for LeastLoaded {
    fn name(&self) -> &'static str {
        "least-loaded"
    }

    fn why(&self) -> &'static str {
        "the fewest requests in flight"
    }

    fn choose(&mut self, _: &Request<'_>, candidates: &Candidates<'_>, random: &mut Random) -> Option<usize> {
        self.scores.set(candidates, candidates.requests().iter().copied());
        self.scores.least(random)
    }
}

impl Policy for PowerOfTwo {
    fn name(&self) -> &'static str {
        "power-of-two"
    }

    fn why(&self) -> &'static str {
        "fewer requests in flight than another, both drawn"
    }

    fn choose(&mut self, _: &Request<'_>, candidates: &Candidates<'_>, random: &mut Random) -> Option<usize> {
        let mask = candidates.mask();
        let first = random.below(mask.len());
        // A different one, if there is: the draw skips the first.
        let second = random.below(mask.len().saturating_sub(1));
        let second = second + usize::from(second >= first && mask.len() > 1);
        let (first, second) = (mask.nth(first)?, mask.nth(second)?);
        // The two were drawn in random order, so a tie needs no further draw.
        Some(if candidates.load(second).requests < candidates.load(first).requests { second } else { first })
    }
}
