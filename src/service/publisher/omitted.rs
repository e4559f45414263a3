//! Blocks that an engine has announced and that were not handed to the index.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use serde::{Deserialize, Serialize};

use super::table;
use crate::service::doubt::{Doubt, Doubts};
use crate::service::tier::Tier;

/// Blocks that an engine has, by what one publisher says, and that were never handed to the index, because something
/// about them could not be used. While there are any, answers about the worker are doubted.
///
/// The index has a list of its own, of blocks that it was handed and rejected; see [`Doubt::Unplaced`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::service) struct Omitted {
    /// By sequence hash and tier (`None` where the medium is not known), the copies that were omitted.
    blocks: HashMap<(u64, Option<TierNumber>), u32>,
    /// Why they were omitted.
    doubts: Doubts,
    /// Whether some had to be left off this list. Then only a clear or a restart ends the doubts.
    overflowed: bool,
}

/// A tier as a number, slowest last.
type TierNumber = u8;

impl Omitted {
    /// How many blocks are listed at most.
    const MOST: usize = 1 << 16;

    /// Adds blocks that were omitted for this reason. If memory is `scarce`, the list does not become longer.
    pub(in crate::service) fn add(
        &mut self,
        tier: Option<Tier>,
        hashes: &[u64],
        why: Doubt,
        count_copies: bool,
        scarce: bool,
    ) {
        let most = if scarce { 0 } else { Self::MOST };
        self.doubts = self.doubts.and(why.into());
        for &hash in hashes {
            let key = (hash, tier.map(|tier| tier as TierNumber));
            if self.blocks.len() >= most && !self.blocks.contains_key(&key) {
                self.overflowed = true;
                return;
            }
            let copies = self.blocks.entry(key).or_default();
            *copies = if count_copies { copies.saturating_add(1) } else { 1 };
        }
    }

    /// Notes that the engine stored these blocks and that this time they were handed to the index. Where copies count,
    /// those that were omitted are still missing; otherwise nothing of the block is missing any more. Returns the doubts
    /// that this ends.
    pub(in crate::service) fn stored(
        &mut self,
        tier: Tier,
        hashes: impl Iterator<Item = u64>,
        count_copies: bool,
    ) -> Doubts {
        if self.blocks.is_empty() || count_copies {
            return Doubts::NONE;
        }
        for hash in hashes {
            self.blocks.remove(&(hash, Some(tier as TierNumber)));
        }
        self.ended()
    }

    /// Notes that the engine removed one copy of each of these blocks, and leaves those of which the index loses one.
    /// Returns the doubts that this ends: all of them, once the last block is gone.
    ///
    /// All copies of a block are alike. So where copies count, the one that was removed is taken to be one that the index
    /// was not given, for as long as there is one: the index keeps the block exactly as long as the engine does.
    pub(in crate::service) fn removed(
        &mut self,
        tier: Option<Tier>,
        hashes: &mut Cow<'_, [u64]>,
        count_copies: bool,
    ) -> Doubts {
        if self.blocks.is_empty() {
            return Doubts::NONE;
        }
        hashes.to_mut().retain(|&hash| match self.blocks.entry((hash, tier.map(|tier| tier as TierNumber))) {
            Entry::Vacant(_) => true,
            Entry::Occupied(mut copies) => {
                *copies.get_mut() -= 1;
                if *copies.get() == 0 {
                    copies.remove();
                }
                !count_copies
            }
        });
        self.ended()
    }

    /// Returns about how many bytes it takes on the heap.
    pub(super) fn bytes(&self) -> usize {
        table::bytes(&self.blocks)
    }

    fn ended(&mut self) -> Doubts {
        table::shrink(&mut self.blocks);
        if self.blocks.is_empty() && !self.overflowed { std::mem::take(&mut self.doubts) } else { Doubts::NONE }
    }

    /// Whether all of these are listed.
    pub(in crate::service) fn has_all(&self, tier: Option<Tier>, hashes: &[u64]) -> bool {
        hashes.iter().all(|&hash| self.blocks.contains_key(&(hash, tier.map(|tier| tier as TierNumber))))
    }
}
