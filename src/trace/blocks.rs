//! Ids for blocks and their prefixes, in the order of first appearance.

use std::collections::HashMap;

use twox_hash::XxHash3_128;

/// A fingerprint of a block and its whole prefix: `XXH3-128(parent as u128 LE || content)`, where the parent of a first
/// block is 0. Two different ones collide with a probability of about 2^-128.
pub(super) type Chain = u128;

/// Returns the fingerprint of a block that follows `parent`. The content of `scratch` is overwritten.
pub(super) fn chain(parent: Chain, content: impl IntoIterator<Item = u64>, scratch: &mut Vec<u8>) -> Chain {
    scratch.clear();
    scratch.extend(parent.to_le_bytes());
    content.into_iter().for_each(|word| scratch.extend(word.to_le_bytes()));
    XxHash3_128::oneshot(scratch)
}

/// Dense ids: 0, 1, 2, ... in the order of first appearance. Memory grows with the number of ids.
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
