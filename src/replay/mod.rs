//! Driving an index with a trace or a built-in workload, over a fleet of [simulated engines](crate::mock).
//!
//! Requests are served one after another. Each is looked up in the index first; then a worker serves it, and its events
//! update the index. [`run`] does all of it and returns a [`Report`].

mod error;
mod fleet;
mod options;
mod record;
mod report;
mod requests;
mod run;
mod tally;
mod verify;
mod workload;

pub use error::ReplayError;
pub use options::{Assign, Options};
pub use record::Record;
pub use report::{Lookup, Report, Staleness};
pub use requests::{Request, Requests};
pub use run::run;
pub use verify::{Mismatch, Verifier};
pub use workload::Workload;
