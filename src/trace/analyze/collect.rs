//! One pass over the rows of a trace, each of which goes to every collector.

use super::arrivals::ArrivalCounter;
use super::context::Contexts;
use super::metrics::Lengths;
use super::reuse::Reuse;
use super::sessions::SessionCounter;
use super::{Analysis, Curve, Options};
use crate::trace::check::Check;
use crate::trace::error::Reason;
use crate::trace::prefixes::PrefixTree;
use crate::trace::{Row, Rows, ToolError};

/// Reads `rows` to the end and analyses them. Calls `progress` after each row with the number of rows so far.
///
/// Costs about as much as reading the rows. Each curve adds a few additions for each node of a row's path.
///
/// # Errors
/// [`ToolError::Option`] if an option is out of range, and [`ToolError::Trace`] if a row cannot be read, arrives before
/// the previous one, has no id for a whole block of its prompt, or has an id that followed a different one before.
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
    /// For each curve, the cache of each worker.
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
        let growth = self.prefixes.row(&row.hash_ids, &mut self.path)?;
        let (path, prefixes) = (&*self.path, &self.prefixes);

        self.lengths.row(row, growth.known, block_size);
        self.contexts.row(row, path, growth, prefixes, block_size);
        for fleet in &mut self.fleets {
            for worker in &mut *fleet {
                worker.follow(growth);
            }
            let worker = (self.requests % fleet.len() as u64) as usize;
            fleet[worker].request(path, prefixes);
        }
        self.arrivals.request(row.timestamp, path, growth, prefixes);
        self.sessions.row(row);
        self.requests += 1;
        self.blocks += ids as u64;
        self.hit_blocks += growth.known as u64;
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
