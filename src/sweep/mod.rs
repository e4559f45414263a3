//! Finding how much load a backend can take: what a fleet would say is worked out once on a virtual clock, as a
//! [`Schedule`] of lookups and events, and then played against one backend after another.
//!
//! A [`Partition`] makes the schedule. [`run`] plays its second half (a [`Load`]) at rising rates, one [`Trial`] at a
//! time, each in a process of its own, until the threshold of each backend is found; [`figure`] draws the [`Report`].
//!
//! # What is measured
//! A trial is an open loop: every operation has a deadline, set before the trial begins, and a backend that is slow
//! finds its work waiting. The trial is over when every lookup has its answer and every event is visible, which includes
//! draining the queues; rates are by that time. A backend takes a load when all of it was issued within
//! [1.01](Trial::VALID) windows, completed within [1.10](Trial::KEPT_UP), and no more than [5%](Trial::LEFT) of the
//! events (or [16](Trial::FEW)) were still waiting when the window ended. Operations are lookups and events; block
//! operations are the blocks that they name: of queries (all of them, however few a search looks at), stored, and
//! removed.
//!
//! A machine that does other work at the same time makes trials fail. Every trial says what share of the cores others
//! took; one that failed beside more than [5%](Trial::OTHERS) counts for nothing and is repeated a few times.
//!
//! Answers are compared in a pass of their own, so that nothing that is timed differs from what ships.

#![allow(clippy::cast_sign_loss)] // times, ranks and counts are not negative

mod answers;
mod encoding;
mod error;
mod figure;
mod load;
mod open_loop;
mod options;
mod partition;
mod play;
mod process;
mod report;
mod run;
mod schedule;
mod system;
mod threads;
mod threshold;
mod trial;
mod usage;

pub use answers::{Answers, check};
pub use error::SweepError;
pub use figure::figure;
pub use load::Load;
pub use options::Options;
pub use partition::{Partition, PartitionError};
pub use play::play;
pub use process::{Job, Launcher, Reply, perform};
pub use report::{BackendReport, Machine, Report, Workload};
pub use run::{Progress, run};
pub use schedule::{Op, Schedule, ScheduleError, What};
pub use system::System;
pub use threads::Threads;
pub use trial::{Quantiles, Spec, Trial};
