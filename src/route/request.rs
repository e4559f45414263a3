//! What is asked of a router, and its answer.

use super::Mask;
use crate::event::Worker;

/// What is to be routed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request<'a> {
    /// Local hashes of the prompt's full blocks.
    pub blocks: &'a [u64],
    /// Tokens of the prompt. Fewer than those of its blocks are taken for as many.
    pub tokens: u64,
    /// What session it belongs to, for policies that keep sessions together.
    pub session: Option<u64>,
    /// Who may serve it; `None`: everybody. See [`Router::mask`].
    pub among: Option<&'a Mask>,
}

/// Which worker serves a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The one chosen.
    pub worker: Worker,
    /// Leading blocks of the prompt that it is thought to hold, in whatever tier with a credit: the greatest depth that
    /// the answers give it, or what was predicted where that is more.
    pub held: u32,
    /// How many of them were predicted, whatever the answers say.
    pub predicted: u32,
}
