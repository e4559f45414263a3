//! A fleet of [simulated engines](crate::mock) behind a router and this index, on one virtual clock.

mod report;

pub use report::{Axis, Bins, Blocks, Events, Interval, PolicyReport, Prediction, Report, Setting, Times};
