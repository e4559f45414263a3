//! Ids for blocks under their prefixes, by first appearance.

use std::collections::HashMap;

use twox_hash::XxHash3_128;

/// A block and its whole prefix, as a fingerprint: `XXH3-128(parent as u128 LE ‖ content)`, the parent of a first block
/// being 0. Distinct ones collide with a probability of about 2^-128 a pair.
pub(super) type Chain = u128;

/// The fingerprint of a block that follows `parent`. `scratch` is any.
pub(super) fn chain(parent: Chain, content: impl IntoIterator<Item = u64>, scratch: &mut Vec<u8>) -> Chain {
    scratch.clear();
    scratch.extend(parent.to_le_bytes());
    content.into_iter().for_each(|word| scratch.extend(word.to_le_bytes()));
    XxHash3_128::oneshot(scratch)
}

/// Dense ids: 0, 1, 2, ... in the order of first appearance. Memory grows with them.
#[derive(Debug, Default)]
pub(super) struct BlockIds {
    ids: HashMap<Chain, u64>,
}

impl BlockIds {
    pub(super) fn id(&mut self, chain: Chain) -> u64 {
        let next = self.ids.len() as u64;
        *self.ids.entry(chain).or_insert(next)
    }
}
