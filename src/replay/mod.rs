//! Driving an index with a trace: a fleet of [simulated engines](crate::mock) serves the requests, one after another;
//! every request is looked up before the worker that serves it says what it stored and evicted.

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
