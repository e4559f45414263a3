//! Finding how much load this index takes, and other designs beside it.
//!
//! A [`Partition`] simulates a fleet once, on a virtual clock, which yields a [`Schedule`] of lookups and events.
//! [`run`] plays its second half, a [`Load`], to one backend after another at rising rates, one [`Trial`] at a time and
//! each in a process of its own, until the threshold of each backend is found. [`figure`] draws the [`Report`].
//!
//! # What is measured
//! A trial is an open loop: every operation has a deadline that is set before the trial begins, so a slow backend finds
//! its work waiting. (A closed loop, which sends the next request after the last answer, slows down with the backend
//! and hides that: Schroeder, Wierman and Harchol-Balter, "Open Versus Closed", 2006; also known as coordinated
//! omission.) The trial is over when every lookup has its answer and every event is visible, queues drained; achieved
//! rates are divided by that time.
//!
//! A backend takes a load if all of it was issued within [1.01](Trial::VALID) windows and completed within
//! [1.10](Trial::KEPT_UP), and if no more than [5%](Trial::LEFT) of the events (or [16](Trial::FEW)) were still waiting
//! when the window ended. Operations are lookups and events. Block operations are the blocks that these name: all
//! blocks of queries, however few a search looks at, and blocks stored and removed.
//!
//! Other work on the machine makes trials fail. Every trial says what share of the cores other processes took; a trial
//! that failed while they took more than [5%](Trial::OTHERS) does not count, and is repeated a few times.
//!
//! Answers are compared in a pass of their own, so that what is timed is what ships.

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
pub use process::{Job, Launcher, Reply, interrupt, perform};
pub use report::{BackendReport, Machine, Report, Workload};
pub use run::{Progress, run};
pub use schedule::{Op, Schedule, ScheduleError, What};
pub use system::System;
pub use threads::Threads;
pub use trial::{Quantiles, Spec, Trial};
