//! A fleet of [simulated engines](crate::mock) behind a [router](crate::route) and this index, on one virtual clock.
//!
//! An [`Experiment`] plays the same requests for every policy: each is looked up in the index, sent where the policy
//! says, and served by an engine with a block pool and continuous batching, whose events update the index. Events can be
//! late, lost or doubled, and workers can die, join and slow down: see [`World`]. Nothing depends on threads or on the
//! real clock: equal options and seeds give equal reports.
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
//! Where the workload knows sessions and they are [closed](Sessions::Closed), the next request of a session comes when
//! the one before is answered or rejected, after the time that lies between the two in the workload. A policy that
//! answers sooner is then asked sooner; the requests are the same for all. A prompt that goes on with the whole prompt
//! before it is taken to contain its answer, and finds the answer's blocks where that was computed.
//!
//! # What it leaves out
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
    Bins, Blocks, Events, ExperimentAxis, Interval, PolicyReport, PredictionAccuracy, Report, Setting, Times,
};
pub use run::{Progress, run};
pub use workload::{Bursts, Mix, Sessions, Source, Traffic, Workload};
pub use world::{Change, Incident, World};
