//! A fleet of [simulated engines](crate::mock) behind a router and this index, on one virtual clock.

mod clock;
mod error;
mod fleet;
mod options;
mod play;
mod report;
mod tally;
mod workload;
mod world;

use std::ops::ControlFlow;

pub use error::SimError;
pub use options::Options;
pub use report::{Axis, Bins, Blocks, Events, Interval, PolicyReport, Prediction, Report, Setting, Times};
pub use workload::{Bursts, Mix, Sessions, Source, Traffic, Workload};
pub use world::{Change, Incident, World};

use play::Simulation;

/// x
pub fn quick(options: &Options) -> Result<Vec<PolicyReport>, SimError> {
    options.check()?;
    let requests = options.workload.requests(options.block_size, options.workers, options.seed)?;
    let mut out = vec![];
    for p in &options.policies {
        out.push(Simulation::new(options, &requests, p)?.play(|_| ControlFlow::Continue(())).unwrap());
    }
    Ok(out)
}
