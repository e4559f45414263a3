//! What a trace is like: lengths, reuse, arrivals.
//!
//! One pass over the rows. Memory grows with the distinct ids (see [`Options::workers`]), distinct values of the
//! metrics, windows and sessions, and not with the rows.
//!
//! ```
//! use kvleap::trace::{Rows, analyze::{Options, analyze}};
//!
//! let text = concat!(
//!     r#"{"timestamp": 0, "input_length": 1100, "output_length": 5, "hash_ids": [0, 1, 2]}"#, "\n",
//!     r#"{"timestamp": 9, "input_length": 1030, "output_length": 5, "hash_ids": [0, 1, 3]}"#,
//! );
//! let analysis = analyze(Rows::from_reader("example", text.as_bytes())?, &Options::default(), |_| {})?;
//! assert_eq!(analysis.metrics.get("Context Length").map(|summary| summary.mean), Some(1024.0));
//! assert_eq!(analysis.block_weighted_hit_rate, 2.0 / 6.0); // 0 and 1, the second time
//! assert_eq!(analysis.curves[0].hit_rate(1), 1.0 / 6.0); // one block of cache keeps 0 only
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod arrivals;
mod context;
mod curve;
#[cfg(feature = "report")]
mod figure;
mod metrics;
mod reuse;
mod sessions;
mod tally;

pub use arrivals::{Arrivals, Window};
pub use curve::{Curve, CurvePoint};
#[cfg(feature = "report")]
pub use figure::figure;
pub use metrics::{Histogram, Metrics};
pub use sessions::Sessions;
pub use tally::Summary;

use serde::Serialize;

use super::check::Check;
use super::error::Reason;
use super::prefixes::PrefixTree;
use super::{Row, Rows, ToolError};
use arrivals::ArrivalCounter;
use context::Contexts;
use metrics::Lengths;
use reuse::Reuse;
use sessions::SessionCounter;

/// How to look at a trace.
#[derive(Clone, Debug)]
pub struct Options {
    /// Tokens that one hash id stands for. Default 512.
    pub block_size: u32,
    /// Fleets to compute a [`Curve`] for, by their number of workers. Default 1, 2, 4 and 8. Each costs at most eight
    /// bytes per row with ids of its own and worker.
    pub workers: Vec<u32>,
    /// Milliseconds of a [`Window`]. Default one minute.
    pub window_ms: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { block_size: 512, workers: vec![1, 2, 4, 8], window_ms: 60_000 }
    }
}

impl Options {
    /// The most workers of a fleet.
    pub const MAX_WORKERS: u32 = 1 << 10;

    /// Whether the options are in their ranges.
    ///
    /// # Errors
    /// [`ToolError::Option`].
    pub fn check(&self) -> Result<(), ToolError> {
        let fail = |option, why: &str| Err(ToolError::Option { option, why: why.to_owned() });
        if self.block_size == 0 {
            return fail("--block-size", "is 0; it must be at least 1");
        }
        if self.window_ms == 0 {
            return fail("--window", "is 0; it must be at least a millisecond");
        }
        if self.workers.iter().any(|&workers| !(1..=Self::MAX_WORKERS).contains(&workers)) {
            return fail("--workers", &format!("must be between 1 and {}", Self::MAX_WORKERS));
        }
        Ok(())
    }
}

/// What a trace is like.
#[derive(Clone, Debug, Serialize)]
pub struct Analysis {
    /// The name of the trace.
    pub file: String,
    /// Rows.
    pub requests: u64,
    /// Distinct ids.
    pub unique_hash_ids: u64,
    /// Those that occur more than once.
    pub repeated_hash_ids: u64,
    /// Ids of all rows.
    pub blocks: u64,
    /// Those that an earlier row had, with their whole prefix.
    pub hit_blocks: u64,
    /// `hit_blocks / blocks`, 0 if there is none: what an infinite cache hits. [`Metrics`] has the mean over rows.
    pub block_weighted_hit_rate: f64,
    /// Rows whose last id has no token: a sign that the block size is too large. Where there are some, unique
    /// prompt lengths may be negative.
    pub rows_with_spare_ids: u64,
    /// Lengths and hit rates of requests.
    pub metrics: Metrics,
    /// Histograms of the lengths of prompts and answers.
    #[serde(skip)]
    pub histograms: Vec<Histogram>,
    /// Hit rate by cache size, for each of [`Options::workers`].
    pub curves: Vec<Curve>,
    /// How requests arrive.
    pub arrivals: Arrivals,
    /// [`Options::window_ms`].
    pub window_ms: u64,
    /// The working set over time: stretches of `window_ms` that have a request.
    pub windows: Vec<Window>,
    /// Sessions, if there are any.
    pub sessions: Option<Sessions>,
}

/// Reads `rows` to the end. Calls `progress` after each row with how many there were so far.
///
/// Costs about as much as reading; a row adds to each curve the time of a few additions, and of one pass over its ids.
///
/// # Errors
/// [`ToolError::Option`] when an option is out of its range, and [`ToolError::Trace`] when a row cannot be read, arrives
/// before the row before it, leaves a whole block of its prompt without id, or has an id that followed another before.
pub fn analyze(mut rows: Rows, options: &Options, mut progress: impl FnMut(u64)) -> Result<Analysis, ToolError> {
    options.check()?;
    let mut collector = Collector::new(options);
    let mut row = Row::default();
    while let Some(read) = rows.read(&mut row) {
        read?;
        collector.row(&row).map_err(|reason| rows.error(reason))?;
        progress(collector.requests);
    }
    Ok(collector.finish(rows.name().to_owned()))
}

struct Collector<'a> {
    options: &'a Options,
    check: Check,
    prefixes: PrefixTree,
    path: Vec<u32>,
    requests: u64,
    blocks: u64,
    hit_blocks: u64,
    spare: u64,
    lengths: Lengths,
    contexts: Contexts,
    /// By fleet, one for each worker.
    fleets: Vec<Vec<Reuse>>,
    arrivals: ArrivalCounter,
    sessions: SessionCounter,
}

impl<'a> Collector<'a> {
    fn new(options: &'a Options) -> Self {
        let fleet = |&workers: &u32| (0..workers).map(|_| Reuse::default()).collect();
        Self {
            options,
            check: Check::new(options.block_size),
            prefixes: PrefixTree::default(),
            path: Vec::new(),
            requests: 0,
            blocks: 0,
            hit_blocks: 0,
            spare: 0,
            lengths: Lengths::default(),
            contexts: Contexts::default(),
            fleets: options.workers.iter().map(fleet).collect(),
            arrivals: ArrivalCounter::new(options.window_ms),
            sessions: SessionCounter::default(),
        }
    }

    fn row(&mut self, row: &Row) -> Result<(), Reason> {
        let (block_size, ids) = (self.options.block_size, row.hash_ids.len());
        self.check.row(row)?;
        let step = self.prefixes.row(&row.hash_ids, &mut self.path)?;
        let (path, prefixes) = (&*self.path, &self.prefixes);

        self.lengths.row(row, step.known, block_size);
        self.contexts.row(row, path, step, prefixes, block_size);
        for fleet in &mut self.fleets {
            for worker in &mut *fleet {
                worker.follow(step);
            }
            let worker = (self.requests % fleet.len() as u64) as usize;
            fleet[worker].request(path, prefixes);
        }
        self.arrivals.request(row.timestamp, path, step, prefixes);
        self.sessions.row(row);
        self.requests += 1;
        self.blocks += ids as u64;
        self.hit_blocks += step.known as u64;
        self.spare += u64::from(self.check.is_spare(row));
        Ok(())
    }

    fn finish(self, file: String) -> Analysis {
        let repeated_hash_ids = self.contexts.repeated;
        let (context, unique) = self.contexts.finish(self.options.block_size);
        let curve = |fleet: Vec<Reuse>| {
            let mut uses = Vec::new();
            for worker in &fleet {
                worker.add_to(&mut uses);
            }
            Curve::new(fleet.len() as u32, uses, self.blocks)
        };
        let (arrivals, windows) = self.arrivals.finish();
        Analysis {
            file,
            requests: self.requests,
            unique_hash_ids: self.prefixes.len() as u64,
            repeated_hash_ids,
            blocks: self.blocks,
            hit_blocks: self.hit_blocks,
            block_weighted_hit_rate: if self.blocks == 0 { 0.0 } else { self.hit_blocks as f64 / self.blocks as f64 },
            rows_with_spare_ids: self.spare,
            histograms: self.lengths.histograms(),
            metrics: self.lengths.finish(&context, &unique),
            curves: self.fleets.into_iter().map(curve).collect(),
            arrivals,
            window_ms: self.options.window_ms,
            windows,
            sessions: self.sessions.finish(),
        }
    }
}
