//! Six figures that explain the index, each from a run of its own: what is drawn is measured, not made up.
//!
//! A [`Topic`] is [collected](Topic::collect), which runs the index, or [loaded](Topic::load) from what another run
//! left; the [`Data`] are then drawn, put into words, and written down. Equal data give equal bytes.
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

/// What the figures are made from, where there is a choice.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where the events of [`Topic::Density`] come from. Default [`Source::BuiltIn`].
    pub source: Source,
    /// The JSON of a sweep, for [`Topic::Throughput`]. Default `None`: a quick sweep.
    pub sweep: Option<PathBuf>,
    /// How that sweep starts a process for every trial: the program, and the subcommand that a
    /// [`Launcher`](crate::sweep::Launcher) wants. Default `None`: no processes, which lets one trial's caches and heap
    /// favour the next.
    pub trials: Option<(PathBuf, &'static str)>,
    /// Seeds workloads and indexes. Default 0.
    pub seed: u64,
}

/// Where the events of [`Topic::Density`] come from.
#[derive(Clone, Debug, Default)]
pub enum Source {
    /// Simulated engines on the built-in workload; now and then one of them is reset.
    #[default]
    BuiltIn,
    /// Simulated engines on a trace, with blocks of so many tokens.
    Trace(PathBuf, u32),
    /// The record of a [replay](crate::replay::Record).
    Record(PathBuf),
}
