//! What an event changes, once it is normalised.

use std::borrow::Cow;

use crate::event::Block;
use crate::service::tier::Tier;

/// What an event changes.
#[derive(Debug, PartialEq)]
pub(super) enum Change<'a> {
    /// Blocks were stored.
    Stored { tier: Tier, parent: Option<u64>, blocks: Vec<Block> },
    /// Blocks that are known by their hashes lie on this tier, too.
    Placed { tier: Tier, hashes: &'a [u64] },
    /// One copy of each of these blocks was removed.
    Removed { tier: Tier, hashes: Cow<'a, [u64]> },
    /// The publisher's cache is empty.
    Cleared,
}
