//! A simulation of a fleet: [simulated engines](crate::mock) behind a [router](crate::route) and this index, on one
//! virtual clock.
//!
//! An [`Experiment`] plays the same requests under every policy. Each request is looked up in the index, sent to the
//! worker that the policy chooses, and served by an engine with a block pool and continuous batching, whose events
//! update the index. Events can be late, lost or duplicated, and workers can die, join and slow down: see [`World`].
//! Nothing depends on threads or on the real clock: equal options and seeds give equal reports.
//!
//! ```
//! use kvleap::sim::{Experiment, Options, Workload, run};
//!
//! let workload = Workload { requests: Some(500), ..Workload::default() };
//! let options = Options { workload, policies: vec!["round-robin", "longest-prefix"], ..Options::default() };
//! let report = run(&Experiment::new("compare", options, [])?, |_| {})?;
//! let [even, deepest] = &report.policies[..] else { panic!("two policies") };
//! assert!(deepest.block_hit_rate > even.block_hit_rate);
//! # Ok::<(), kvleap::sim::SimError>(())
//! ```
//!
//! # Sessions
//! If the workload has sessions and they are [closed](Sessions::Closed), the next request of a session arrives when the
//! previous one has been answered or rejected and the time between the two in the workload has passed. A policy that
//! answers sooner then gets the next request sooner; the requests are the same for all policies. A prompt that starts
//! with the whole previous prompt is assumed to contain its answer, and finds the blocks of that answer on the worker
//! that computed it.
//!
//! # Not simulated
//! The time that a decision takes, the network between client, router and worker, transfers of blocks between workers,
//! and storage tiers.

mod clock;
mod error;
mod experiment;
mod member;
mod options;
pub mod page;
mod play;
mod report;
mod run;
mod tally;
mod workload;
mod world;

pub use error::SimError;
pub use experiment::{Dimension, Experiment, Vary};
pub use options::{Knowledge, Options};
pub use report::{
    Bins, Blocks, Cell, Events, ExperimentAxis, Interval, PolicyReport, PredictionAccuracy, Report, Setting, Times,
};
pub use run::{Progress, run};
pub use workload::{Bursts, Mix, Sessions, Source, Traffic, Workload};
pub use world::{Change, Incident, World};
