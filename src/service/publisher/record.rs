//! What the service remembers of a worker outside the index.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::omitted::Omitted;
use super::table;
use super::tier_map::TierMap;
use crate::service::tier::Tier;

/// What the service remembers of a publisher's workers outside the index. All publishers of one worker share it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerRecords {
    /// By data-parallel rank. Boxed, because a node of the map has room for eleven.
    pub workers: BTreeMap<u32, Box<WorkerRecord>>,
    /// Whether several publishers speak for them.
    pub shared: bool,
}

impl WorkerRecords {
    /// Returns how many workers there are beside the one of this rank.
    pub(in crate::service) fn others(&self, registered: u32) -> usize {
        self.workers.len() - usize::from(self.workers.contains_key(&registered))
    }
}

/// What the service remembers of one worker outside the index. It stays empty for engines without salts, cache groups
/// and slower tiers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerRecord {
    /// By sequence hash, the namespace of salted blocks. Engines name the salt with the first block of a chain only.
    pub(in crate::service) namespaces: HashMap<u64, Namespace>,
    /// By cache group, whether its blocks are indexed.
    pub(in crate::service) groups: BTreeMap<u64, bool>,
    /// Where its blocks lie: `None` until it has a block on a slower tier, or a second publisher.
    pub(in crate::service) tier_map: Option<TierMap>,
    /// Whether the index counts the copies of what is on the device. The first of the publishers decides it.
    pub(in crate::service) counted: bool,
    /// By the seat of a publisher, the blocks that it has announced and the index was not given.
    pub(in crate::service) omitted: BTreeMap<u8, Omitted>,
}

/// How many ranks one publisher may speak for.
pub(in crate::service) const MAX_RANKS: usize = 4096;

/// How many cache groups of a worker are remembered. Engines have a few.
const MAX_GROUPS: usize = 1024;

impl WorkerRecords {
    /// Returns about how many bytes it takes on the heap.
    pub(in crate::service) fn bytes(&self) -> usize {
        // An engine has few ranks, so what the tree adds to each does not matter.
        self.workers.values().map(|record| size_of::<WorkerRecord>() + record.bytes()).sum()
    }
}

impl WorkerRecord {
    fn bytes(&self) -> usize {
        table::bytes(&self.namespaces)
            + self.groups.len() * 2 * size_of::<(u64, bool)>()
            + self.tier_map.as_ref().map_or(0, TierMap::bytes)
            + self.omitted.values().map(Omitted::bytes).sum::<usize>()
    }

    /// Remembers whether the blocks of a cache group are indexed. Returns `false` if there are too many groups.
    pub(in crate::service) fn note_group(&mut self, group: u64, indexed: bool) -> bool {
        let known = self.groups.len() < MAX_GROUPS || self.groups.contains_key(&group);
        if known {
            self.groups.insert(group, indexed);
        }
        known
    }

    /// Forgets the namespaces of one copy of each of these blocks.
    pub(in crate::service) fn remove_namespaces(&mut self, hashes: &[u64]) {
        if self.namespaces.is_empty() {
            return;
        }
        for hash in hashes {
            match self.namespaces.get_mut(hash) {
                Some(namespace) if namespace.more > 0 => namespace.more -= 1,
                _ => drop(self.namespaces.remove(hash)),
            }
        }
        self.shrink_namespaces();
    }

    /// Forgets what the index has forgotten: by tier, blocks that its worker for that tier has no more.
    pub(in crate::service) fn forget_gone(&mut self, gone: &[Vec<u64>; Tier::ALL.len()]) {
        let gone = match &mut self.tier_map {
            Some(map) => map.forget_gone(gone),
            None => gone.concat(),
        };
        for hash in gone {
            self.namespaces.remove(&hash);
        }
        self.shrink_namespaces();
    }

    /// Gives memory back after namespaces were removed.
    pub(in crate::service) fn shrink_namespaces(&mut self) {
        table::shrink(&mut self.namespaces);
    }
}

/// The namespace of a block, for as long as the worker has a copy of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::service) struct Namespace {
    pub(in crate::service) hash: u64,
    /// Copies beyond the first.
    pub(in crate::service) more: u32,
}
