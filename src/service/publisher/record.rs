//! What the service remembers of a worker outside the index.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::omitted::Omitted;
use super::tier_map::TierMap;

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
    /// Blocks that the engine has and the index was not given.
    pub(in crate::service) omitted: Omitted,
}

/// The namespace of a block, for as long as the worker has a copy of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::service) struct Namespace {
    pub(in crate::service) hash: u64,
    /// Copies beyond the first.
    pub(in crate::service) more: u32,
}
