//! Why a worker was chosen.

use std::fmt;

use super::{Cost, Decision, Load};
use crate::event::Worker;

/// A decision with what led to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The policy that decided.
    pub policy: &'static str,
    /// What it chose.
    pub decision: Decision,
    /// What the chosen one has over the others, as a phrase.
    pub why: &'static str,
    /// Blocks of the prompt.
    pub blocks: u32,
    /// Everybody who could be chosen, by seat.
    pub candidates: Vec<Considered>,
}

/// A worker that could be chosen, and what spoke for and against it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Considered {
    /// Who.
    pub worker: Worker,
    /// Leading blocks of the prompt that it was thought to hold, in whatever tier with a credit.
    pub held: u32,
    /// What they are worth, in blocks: those of each tier times its credit.
    pub credit: f32,
    /// What was in flight there.
    pub load: Load,
    /// The terms of its cost, from a policy that has costs.
    pub cost: Option<Cost>,
}

impl fmt::Display for Explanation {
    /// A line for the choice, and one for each candidate.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { policy, decision, why, blocks, candidates } = self;
        write!(
            f,
            "{policy} chose {} of {} for {why}; the prompt has {blocks} blocks",
            decision.worker,
            candidates.len()
        )?;
        for candidate in candidates {
            let mark = if candidate.worker == decision.worker { '*' } else { ' ' };
            let Considered { worker, held, credit, load, cost } = candidate;
            let Load { requests, prefill_tokens, decode_blocks } = load;
            write!(f, "\n{mark} {worker}: holds {held} (worth {credit}); in flight {requests} requests, ")?;
            write!(f, "{prefill_tokens} prefill tokens, {decode_blocks} decode blocks")?;
            if let Some(cost) = cost {
                let Cost { prefill, decode, queue, requests } = cost;
                let total = cost.total();
                write!(
                    f,
                    "; cost {total} = prefill {prefill} + decode {decode} + queue {queue} + requests {requests}"
                )?;
            }
        }
        Ok(())
    }
}
