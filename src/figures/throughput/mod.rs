//! Throughput: load offered and achieved, for every backend; and what a lookup takes meanwhile.

mod collect;
mod draw;

pub(super) use collect::collect;
pub(super) use draw::{caption, draw};

/// What a sweep found.
pub type Throughput = crate::sweep::Report;
