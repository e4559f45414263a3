//! What the writer and the readers share: position arrays, tables, holders, and the prefix hash.
//!
//! Nothing in this folder knows the writer's state or a snapshot. The writer appends to position arrays that readers
//! read at the same time; everything else here is either copied into a snapshot or immutable.

mod field;
pub(super) mod holders;
mod lanes;
pub(super) mod mix;
pub(super) mod positions;
pub(super) mod prefetch;
pub(super) mod prefix;
pub(super) mod table;
