//! The requests of a replay, from a trace or from the built-in workload.

use std::path::Path;
use std::vec;

use super::{Options, ReplayError, Workload};
use crate::trace::{self, Expansion, Reason, Row};

/// Requests of the built-in workload, unless the options say otherwise.
const GENERATED: u64 = 10_000;

/// A request to the fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Local hashes of the prompt's full blocks.
    pub prompt: Vec<u64>,
    /// Tokens of the prompt.
    pub input_length: u64,
    /// Tokens of the model's answer.
    pub output_length: u64,
}

/// The requests of a replay, in order.
#[derive(Debug)]
pub struct Requests {
    left: u64,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Trace { rows: vec::IntoIter<Row>, expansion: Expansion },
    Generated(Workload),
}

impl Requests {
    /// Opens the requests that `options` describe. A trace is read to its end, or as far as it is needed, so that its
    /// faults show before anything runs.
    ///
    /// # Errors
    /// [`ReplayError::Trace`] and [`ReplayError::BlockSizes`].
    pub fn open(options: &Options) -> Result<Self, ReplayError> {
        let Some(path) = &options.trace else {
            let workload = Workload::new(options.seed, options.block_size);
            return Ok(Self { left: options.requests.unwrap_or(GENERATED), source: Source::Generated(workload) });
        };
        let expansion =
            Expansion::new(options.trace_block_size, options.block_size).map_err(ReplayError::BlockSizes)?;
        let rows = read(path, expansion, options.requests.unwrap_or(u64::MAX))?;
        Ok(Self { left: rows.len() as u64, source: Source::Trace { rows: rows.into_iter(), expansion } })
    }

    /// Returns how many requests are left.
    pub fn len(&self) -> u64 {
        self.left
    }

    /// Returns whether no request is left.
    pub fn is_empty(&self) -> bool {
        self.left == 0
    }
}

/// Reads at most `limit` rows, and checks that each can be expanded. What they expand to is not kept, because it is many
/// times larger.
fn read(path: &Path, expansion: Expansion, limit: u64) -> Result<Vec<Row>, ReplayError> {
    let mut trace = trace::open(path, expansion.trace_block_size()).map_err(ReplayError::Trace)?;
    let mut rows = Vec::new();
    let mut hashes = Vec::new();
    while (rows.len() as u64) < limit {
        let Some(row) = trace.next().transpose().map_err(ReplayError::Trace)? else { break };
        hashes.clear();
        let expanded = expansion.expand(&row, &mut hashes);
        expanded.map_err(|error| ReplayError::Trace(trace.error(Reason::Expand(error))))?;
        rows.push(row);
    }
    Ok(rows)
}

impl Iterator for Requests {
    type Item = Request;

    fn next(&mut self) -> Option<Request> {
        self.left = self.left.checked_sub(1)?;
        match &mut self.source {
            Source::Generated(workload) => workload.next(),
            Source::Trace { rows, expansion } => {
                let row = rows.next()?;
                let mut prompt = Vec::new();
                expansion.expand(&row, &mut prompt).expect("every row was expanded once when it was read");
                let (input_length, output_length) = (row.input_length.into(), row.output_length.into());
                Some(Request { prompt, input_length, output_length })
            }
        }
    }
}
