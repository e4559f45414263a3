//! What is remembered of a rank beside the index.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

/// What is remembered of a rank beside the index. Empty for engines without salts, cache groups and lower tiers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// By sequence hash, the namespace of salted blocks: engines name the salt with the first block of a chain only.
    pub(super) namespaces: HashMap<u64, u64>,
    /// By cache group, whether it is one that is indexed.
    pub(super) groups: BTreeMap<u64, bool>,
    /// From its first block on a lower tier on.
    pub(super) tiers: Option<Tiers>,
}

/// Where a rank has its blocks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tiers {
    /// By sequence hash, a bit for each tier, the fastest lowest; none is 0.
    pub(super) blocks: HashMap<u64, u8>,
    /// A bit for each tier that was ever used; what is on a faster one counts for it, too.
    pub(super) used: u8,
}
