//! Which of a worker's blocks lie on which tier, and which of its publishers said so.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::table;
use crate::service::tier::Tier;

/// How many publishers may speak for one worker at a time: the engine itself, and its connectors.
pub(in crate::service) const SEATS: u8 = 4;

/// A tier as one of a worker's publishers speaks of it.
///
/// Publishers do not know of each other's copies, so each has its own: one that restarts takes away only what it said
/// itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(in crate::service) struct PublisherTier(u8);

impl PublisherTier {
    pub(in crate::service) fn new(tier: Tier, seat: u8) -> Self {
        debug_assert!(seat < SEATS, "seats are given out below the bound");
        Self(tier as u8 * SEATS + seat)
    }

    /// Its bit in [`TierMap::at`].
    pub(in crate::service) fn bit(self) -> u16 {
        1 << self.0
    }

    /// The bits of everything that counts for the worker of `tier`: that tier and the faster ones, of all publishers.
    pub(in crate::service) fn down_to(tier: Tier) -> u16 {
        (1 << ((tier as u8 + 1) * SEATS)) - 1
    }
}

/// Where a worker has its blocks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::service) struct TierMap {
    /// By sequence hash, a bit for each [`PublisherTier`]; never 0.
    blocks: HashMap<u64, u16>,
    /// Copies beyond the first, of blocks that one publisher stored several times on one tier.
    more: HashMap<(u64, PublisherTier), u32>,
    /// A bit for each tier that was ever used. Slower tiers have a worker of their own from then on.
    used: u8,
}

impl TierMap {
    /// Returns the tiers that have a worker in the index, fastest first. Without a map, that is the device alone.
    pub(in crate::service) fn used(map: Option<&Self>) -> impl Iterator<Item = Tier> + use<> {
        let used = map.map_or(0, |map| map.used) | tier_bit(Tier::Device);
        Tier::ALL.into_iter().filter(move |&tier| used & tier_bit(tier) != 0)
    }

    /// Notes that a tier has a worker.
    pub(in crate::service) fn use_tier(&mut self, tier: Tier) {
        self.used |= tier_bit(tier);
    }

    /// Returns the bits of where a block lies: of each [`PublisherTier`] that has it; 0 if it is nowhere.
    pub(in crate::service) fn at(&self, hash: u64) -> u16 {
        self.blocks.get(&hash).copied().unwrap_or(0)
    }

    /// Whether all blocks are known from these bits only.
    pub(in crate::service) fn has_nothing_beside(&self, bits: u16) -> bool {
        self.blocks.values().all(|at| at & !bits == 0)
    }

    /// Adds a block to a tier, or one more copy of it if it is there already and copies count.
    pub(in crate::service) fn put(&mut self, hash: u64, tier: PublisherTier, count_copies: bool) {
        let at = self.blocks.entry(hash).or_default();
        let again = *at & tier.bit() != 0;
        *at |= tier.bit();
        if again && count_copies {
            *self.more.entry((hash, tier)).or_default() += 1;
        }
    }

    /// Takes one copy of a block from a tier. Returns where the block is left, which may be the same tier; `None` if it was
    /// not there.
    pub(in crate::service) fn take(&mut self, hash: u64, tier: PublisherTier) -> Option<u16> {
        let at = self.blocks.get_mut(&hash).filter(|at| **at & tier.bit() != 0)?;
        if let Some(more) = self.more.get_mut(&(hash, tier)) {
            *more -= 1;
            if *more == 0 {
                self.more.remove(&(hash, tier));
                table::shrink(&mut self.more);
            }
            return Some(*at);
        }
        *at &= !tier.bit();
        let left = *at;
        if left == 0 {
            self.blocks.remove(&hash);
            table::shrink(&mut self.blocks);
        }
        Some(left)
    }

    /// Forgets a block, wherever it is.
    pub(in crate::service) fn forget(&mut self, hash: u64) {
        self.blocks.remove(&hash);
    }

    /// Forgets what the index has forgotten: by tier, blocks that its worker for that tier has no more. A block goes once
    /// no worker has it. Returns the blocks that went.
    pub(in crate::service) fn forget_gone(&mut self, gone: &[Vec<u64>; Tier::ALL.len()]) -> Vec<u64> {
        let mut tiers: HashMap<u64, u8> = HashMap::new();
        for (tier, hashes) in Tier::ALL.into_iter().zip(gone) {
            for &hash in hashes {
                *tiers.entry(hash).or_default() |= tier_bit(tier);
            }
        }
        let used: Vec<Tier> = Self::used(Some(self)).collect();
        let has = |hash, tier| self.at(hash) & PublisherTier::down_to(tier) != 0;
        let is_left = |hash, by: u8| used.iter().any(|&tier| by & tier_bit(tier) == 0 && has(hash, tier));
        tiers.retain(|&hash, by| !is_left(hash, *by));
        self.blocks.retain(|hash, _| !tiers.contains_key(hash));
        self.more.retain(|(hash, _), _| !tiers.contains_key(hash));
        table::shrink(&mut self.blocks);
        table::shrink(&mut self.more);
        tiers.into_keys().collect()
    }

    /// Returns the blocks of one tier, each as many times as it has copies there.
    pub(in crate::service) fn copies(&self, tier: PublisherTier) -> Vec<u64> {
        let there = self.blocks.iter().filter(|(_, at)| **at & tier.bit() != 0).map(|(&hash, _)| hash);
        let copies = |hash| 1 + self.more.get(&(hash, tier)).copied().unwrap_or(0) as usize;
        there.flat_map(|hash| std::iter::repeat_n(hash, copies(hash))).collect()
    }

    /// Forgets all blocks. The tiers keep their workers.
    pub(in crate::service) fn clear(&mut self) {
        (self.blocks, self.more) = (HashMap::new(), HashMap::new());
    }

    /// Returns about how many bytes it takes on the heap.
    pub(super) fn bytes(&self) -> usize {
        table::bytes(&self.blocks) + table::bytes(&self.more)
    }
}

fn tier_bit(tier: Tier) -> u8 {
    1 << tier as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_listed_as_often_as_they_can_be_taken() {
        let [device, host] = [Tier::Device, Tier::Host].map(|tier| PublisherTier::new(tier, 1));
        let mut map = TierMap::default();
        for _ in 0..3 {
            map.put(7, device, true);
        }
        map.put(8, device, true);
        map.put(8, host, true);
        let mut copies = map.copies(device);
        copies.sort_unstable();
        assert_eq!(copies, [7, 7, 7, 8]);
        for hash in copies {
            assert!(map.take(hash, device).is_some());
        }
        assert_eq!((map.copies(device).len(), map.copies(host)), (0, vec![8]));
        assert_eq!((map.at(7), map.at(8)), (0, host.bit()));
    }
}
