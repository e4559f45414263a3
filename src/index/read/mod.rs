//! Lookups: a search over an immutable snapshot, and the answers it fills in. No lock, and nothing that events change.

mod layers;
pub(super) mod matches;
mod recent;
pub(super) mod search;
mod slot_set;
pub(super) mod snapshot;
