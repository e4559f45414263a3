//! Six figures that explain the index. Each shows measurements of an actual run.
//!
//! The data of a [`Topic`] are [collected](Topic::collect), by running the index, or [loaded](Topic::load) from an
//! earlier run. [`Data`] can be drawn, described in a caption, and written to files. Equal data give equal bytes.
//!
//! ```
//! use kvleap::figures::{Data, Options, Topic};
//! use kvleap::report::Theme;
//!
//! let data = Topic::Structure.collect(&Options::default(), |_| ())?;
//! assert!(data.svg(Theme::Light)?.contains("radix tree"));
//! assert!(data.caption().contains("runs"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![allow(clippy::cast_sign_loss)] // times, sizes and counts are not negative

mod data;
mod error;
mod topic;
mod words;

pub mod density;
pub mod flow;
pub mod search;
pub mod structure;
pub mod throughput;
pub mod timeline;

use std::path::PathBuf;

pub use data::Data;
pub use error::FiguresError;
pub use topic::Topic;

/// Options for collecting the data of figures.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where the events of [`Topic::Density`] come from. Default [`Source::BuiltIn`].
    pub source: Source,
    /// The JSON report of a sweep, for [`Topic::Throughput`]. Default `None`: a quick sweep.
    pub sweep: Option<PathBuf>,
    /// The program and the subcommand with which a [`Launcher`](crate::sweep::Launcher) starts a process for every
    /// trial of that sweep. Default `None`: all trials run in this process, where caches and heap of one trial
    /// influence the next.
    pub trials: Option<(PathBuf, &'static str)>,
    /// Seed of workloads and indexes. Default 0.
    pub seed: u64,
}

/// Where the events of [`Topic::Density`] come from.
#[derive(Clone, Debug, Default)]
pub enum Source {
    /// Simulated engines that serve the built-in workload. Now and then one of them is reset.
    #[default]
    BuiltIn,
    /// Simulated engines that serve a trace, with the tokens in a block of the trace.
    Trace(PathBuf, u32),
    /// The record of a [replay](crate::replay::Record).
    Record(PathBuf),
}
