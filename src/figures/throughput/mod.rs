//! Throughput: achieved against offered load for every backend, and the latency of lookups at each load.

mod collect;
mod draw;

pub(super) use collect::collect;
pub(super) use draw::{caption, draw};

/// The report of a sweep.
pub type Throughput = crate::sweep::Report;
