//! The reasons for a decision.

use std::fmt;

use super::{Cost, Decision, Load};
use crate::event::Worker;

/// A decision and the reasons for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The policy that decided.
    pub policy: &'static str,
    /// The decision.
    pub decision: Decision,
    /// What sets the chosen worker apart, as a phrase.
    pub why: &'static str,
    /// Blocks of the prompt.
    pub blocks: u32,
    /// The candidates, by seat.
    pub candidates: Vec<Considered>,
}

/// A candidate, and what spoke for and against it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Considered {
    /// The worker.
    pub worker: Worker,
    /// Leading blocks of the prompt that it was expected to hold, in any tier with a credit.
    pub held: u32,
    /// What they are worth, in blocks: those of each tier times its credit.
    pub credit: f32,
    /// What was in flight at it.
    pub load: Load,
    /// The terms of its cost, if the policy has costs.
    pub cost: Option<Cost>,
}

impl fmt::Display for Explanation {
    /// Writes a line for the choice and one for each candidate.
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
