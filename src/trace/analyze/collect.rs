//! One pass over the rows of a trace, each of which goes to every collector.

use super::arrivals::ArrivalCounter;
use super::context::Contexts;
use super::metrics::Lengths;
use super::reuse::Reuse;
use super::sessions::SessionCounter;
use super::{Analysis, Curve, Options};
use crate::trace::error::Reason;
use crate::trace::prefixes::PrefixTree;
use crate::trace::{CheckedRows, Row, ToolError};

/// Reads `rows` to the end and analyses them. Calls `progress` after each row with the number of rows so far.
///
/// Costs about as much as reading the rows. Each curve adds a few additions for each node of a row's path.
///
/// # Errors
/// [`ToolError::Option`] if an option is out of range, and [`ToolError::Trace`] if a row cannot be read, does not fit, or
/// has an id that followed a different one before.
pub fn analyze(mut rows: CheckedRows, options: &Options, mut progress: impl FnMut(u64)) -> Result<Analysis, ToolError> {
    options.check()?;
    let mut collector = Collector::new(options, rows.block_size());
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
    block_size: u32,
    prefixes: PrefixTree,
    path: Vec<u32>,
    requests: u64,
    blocks: u64,
    hit_blocks: u64,
    lengths: Lengths,
    contexts: Contexts,
    /// For each curve, the cache of each worker.
    fleets: Vec<Vec<Reuse>>,
    arrivals: ArrivalCounter,
    sessions: SessionCounter,
}

impl<'a> Collector<'a> {
    fn new(options: &'a Options, block_size: u32) -> Self {
        let fleet = |&workers: &u32| (0..workers).map(|_| Reuse::default()).collect();
        Self {
            options,
            block_size,
            prefixes: PrefixTree::default(),
            path: Vec::new(),
            requests: 0,
            blocks: 0,
            hit_blocks: 0,
            lengths: Lengths::default(),
            contexts: Contexts::default(),
            fleets: options.workers.iter().map(fleet).collect(),
            arrivals: ArrivalCounter::new(options.window_ms),
            sessions: SessionCounter::default(),
        }
    }

    fn row(&mut self, row: &Row) -> Result<(), Reason> {
        let (block_size, ids) = (self.block_size, row.hash_ids.len());
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
        Ok(())
    }

    fn finish(self, file: String) -> Analysis {
        let repeated_hash_ids = self.contexts.repeated;
        let (context, unique) = self.contexts.finish(self.block_size);
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
            block_weighted_hit_rate: (self.blocks > 0).then(|| self.hit_blocks as f64 / self.blocks as f64),
            histograms: self.lengths.histograms(),
            metrics: self.lengths.finish(&context, &unique),
            curves: self.fleets.into_iter().filter(|_| self.blocks > 0).map(curve).collect(),
            arrivals,
            window_ms: self.options.window_ms,
            windows,
            sessions: self.sessions.finish(),
        }
    }
}
