//! The writer's state: what one thread owns and events change. No thread, clock or lock, and nothing that readers see.

mod blocks;
mod bucket;
mod cutoff;
pub(super) mod export;
pub(super) mod left_out;
mod log;
pub(super) mod multiset;
pub(super) mod run;
pub(super) mod runs;
pub(super) mod shard;
mod tail;
pub(super) mod worker;
