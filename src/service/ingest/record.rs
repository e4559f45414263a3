//! What is remembered of a publisher's workers beside the index.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::service::Tier;
use crate::service::doubt::{Doubt, Doubts};

/// What is remembered of a publisher's workers beside the index.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerRecords {
    /// By data-parallel rank.
    pub workers: BTreeMap<u32, WorkerRecord>,
    /// Whether several publishers speak for them.
    pub shared: bool,
}

/// What is remembered of a rank beside the index. Empty for engines without salts, cache groups and lower tiers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerRecord {
    /// By sequence hash, the namespace of salted blocks: engines name the salt with the first block of a chain only.
    pub(super) namespaces: HashMap<u64, Namespace>,
    /// By cache group, whether it is one that is indexed.
    pub(super) groups: BTreeMap<u64, bool>,
    /// From its first block on a lower tier, or its second publisher, on.
    pub(super) places: Option<TierMap>,
    /// Whether the index counts copies of what is on the device: where the first of the publishers does.
    pub(super) counted: bool,
    /// Blocks that are not in the index although the engine has them.
    pub(super) left_out: Omitted,
}

/// The namespace of a block, for as long as one of its copies is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Namespace {
    pub(super) hash: u64,
    /// Copies beyond the first.
    pub(super) more: u32,
}

/// Where a rank has its blocks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TierMap {
    /// By sequence hash, a bit for each [`PublisherTier`]; none is 0.
    pub(super) blocks: HashMap<u64, u16>,
    /// Copies beyond the first of a block in a place.
    pub(super) more: HashMap<(u64, PublisherTier), u32>,
    /// A bit for each tier that was ever used; what is on a faster one counts for it, too.
    pub(super) used: u8,
}

/// Publishers of one worker at a time: the engine's own, and those of its connectors.
pub(in crate::service) const SEATS: u8 = 4;

/// A tier, as one of a worker's publishers speaks of it. Publishers do not know of each other's copies, so each has its
/// own; one that restarts takes away nothing but what it said itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct PublisherTier(u8);

impl PublisherTier {
    pub(super) fn new(tier: Tier, seat: u8) -> Self {
        debug_assert!(seat < SEATS, "seats are given out below the bound");
        Self(tier as u8 * SEATS + seat)
    }

    pub(super) fn bit(self) -> u16 {
        1 << self.0
    }

    /// The bits of all places that the worker of `tier` reaches: on that tier, or a faster one.
    pub(super) fn down_to(tier: Tier) -> u16 {
        (1 << ((tier as u8 + 1) * SEATS)) - 1
    }
}

/// Blocks that an engine has and the index has not, so that its answers are doubted until they are gone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Omitted {
    /// By sequence hash and tier (`None` where the medium is not known), how often they are announced.
    blocks: HashMap<(u64, Option<TierNumber>), u32>,
    /// Why they were left out.
    doubts: Doubts,
    /// Whether there were more than there was room for: then only a clear or a restart ends the doubts.
    overflowed: bool,
}

/// A tier by its number, slowest last.
type TierNumber = u8;

impl Omitted {
    /// Blocks that are remembered.
    const ROOM: usize = 1 << 16;

    /// These were left out.
    pub(super) fn add(&mut self, tier: Option<Tier>, hashes: &[u64], why: Doubt, count_copies: bool) {
        self.doubts = self.doubts.and(why.into());
        for &hash in hashes {
            let key = (hash, tier.map(|tier| tier as TierNumber));
            if self.blocks.len() >= Self::ROOM && !self.blocks.contains_key(&key) {
                self.overflowed = true;
                return;
            }
            let times = self.blocks.entry(key).or_default();
            *times = if count_copies { times.saturating_add(1) } else { 1 };
        }
    }

    /// These were stored, and the index took them: an engine that counts copies has one more, another has no other.
    pub(super) fn stored(&mut self, tier: Tier, hashes: impl Iterator<Item = u64>, count_copies: bool) -> Doubts {
        if self.blocks.is_empty() {
            return Doubts::NONE;
        }
        for hash in hashes {
            let key = (hash, Some(tier as TierNumber));
            if !count_copies {
                self.blocks.remove(&key);
            } else if let Some(times) = self.blocks.get_mut(&key) {
                *times = times.saturating_add(1);
            }
        }
        self.ended()
    }

    /// The engine removed these. Returns the doubts that this ends: all of them, once the last block is gone.
    pub(super) fn removed(&mut self, tier: Option<Tier>, hashes: &[u64]) -> Doubts {
        if self.blocks.is_empty() {
            return Doubts::NONE;
        }
        for &hash in hashes {
            let key = (hash, tier.map(|tier| tier as TierNumber));
            if let Some(times) = self.blocks.get_mut(&key) {
                *times -= 1;
                if *times == 0 {
                    self.blocks.remove(&key);
                }
            }
        }
        self.ended()
    }

    fn ended(&mut self) -> Doubts {
        if self.blocks.is_empty() && !self.overflowed { std::mem::take(&mut self.doubts) } else { Doubts::NONE }
    }

    /// Whether all of these are known to have been left out.
    pub(super) fn has_all(&self, tier: Option<Tier>, hashes: &[u64]) -> bool {
        hashes.iter().all(|&hash| self.blocks.contains_key(&(hash, tier.map(|tier| tier as TierNumber))))
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
