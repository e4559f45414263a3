//! A request to be routed, and the decision about it.

use super::Mask;
use crate::event::Worker;

/// A request to be routed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request<'a> {
    /// Local hashes of the prompt's full blocks.
    pub blocks: &'a [u64],
    /// Tokens of the prompt; at least those of its blocks are assumed.
    pub tokens: u64,
    /// The session that it belongs to, for policies that keep sessions together.
    pub session: Option<u64>,
    /// The workers that may serve it; `None` for all. See [`Router::mask`](super::Router::mask).
    pub among: Option<&'a Mask>,
}

/// A decision: which worker serves a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The chosen worker.
    pub worker: Worker,
    /// Leading blocks of the prompt that it is expected to hold, in any tier with a credit: its greatest depth in the
    /// answers, or the prediction if that is deeper.
    pub held: u32,
    /// Leading blocks that were predicted, whatever the answers say.
    pub predicted: u32,
}
