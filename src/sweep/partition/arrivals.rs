//! The requests of a schedule, in the order of their times.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;

use fastrand::Rng;

use super::{Partition, PartitionError};
use crate::hash::hash_pair;
use crate::mock::Request;
use crate::replay::Workload;
use crate::trace::{self, Expansion, Reason, Row};

/// Requests of the built-in workload, unless the options say otherwise.
const GENERATED: u64 = 2_000;
/// Makes the times of the built-in workload independent of its prompts, which have the same seed.
const TIMES: u64 = 0x71E5;
/// Makes every answer different from all others, and from all prompts.
const ANSWER: u64 = 0x0D7;
/// Makes the blocks of copies different from all others.
const COPY: u64 = 0xC0B1;
const NS_PER_MS: u64 = 1_000_000;
const NS_PER_S: u64 = 1_000_000_000;

/// A request with the time of its arrival.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    pub(super) at_ns: u64,
    /// Local hashes of the prompt's full blocks.
    pub(super) prompt: Box<[u64]>,
    pub(super) input_tokens: u64,
    pub(super) output_tokens: u64,
    /// Identifies the text of the answer, which is different for every request.
    pub(super) text: u64,
}

impl Arrival {
    /// Returns the request as an engine takes it.
    pub(super) fn request(&self) -> Request {
        Request {
            prompt: self.prompt.clone(),
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens,
            text: self.text,
            ..Request::default()
        }
    }
}

/// Reads or generates all requests of `partition`, and checks that each fits an engine.
pub(super) fn read(partition: &Partition) -> Result<Vec<Arrival>, PartitionError> {
    let originals = match &partition.trace {
        Some(path) => of_trace(path, partition)?,
        None => generated(partition),
    };
    let mut arrivals = Vec::new();
    for (original, number) in originals.into_iter().zip(1..) {
        let long = lengthen(original, number, partition)?;
        for copy in 0..partition.duplication_factor {
            let text = hash_pair(ANSWER, arrivals.len() as u64);
            arrivals.push(Arrival { text, ..duplicate(&long, copy) });
        }
    }
    Ok(arrivals)
}

fn generated(partition: &Partition) -> Vec<Arrival> {
    let Partition { seed, engine, requests, requests_per_second, .. } = partition;
    let mut random = Rng::with_seed(hash_pair(TIMES, *seed));
    let most = 2 * NS_PER_S / u64::from(*requests_per_second);
    let mut at_ns = 0;
    let requests = Workload::new(*seed, engine.block_size).take(requests.unwrap_or(GENERATED) as usize);
    let arrivals = requests.map(|request| {
        at_ns += random.u64(..=most);
        Arrival {
            at_ns,
            prompt: request.prompt.into(),
            input_tokens: request.input_length,
            output_tokens: request.output_length,
            text: 0,
        }
    });
    arrivals.collect()
}

fn of_trace(path: &Path, partition: &Partition) -> Result<Vec<Arrival>, PartitionError> {
    let expansion = Expansion::new(partition.trace_block_size, partition.engine.block_size);
    let expansion = expansion.map_err(PartitionError::BlockSizes)?;
    let mut rows = trace::open(path, expansion.trace_block_size()).map_err(PartitionError::Trace)?;
    let mut arrivals: Vec<Arrival> = Vec::new();
    let mut parents = HashMap::new();
    let mut first = None;
    while arrivals.len() as u64 != partition.requests.unwrap_or(u64::MAX) {
        let Some(row) = rows.next().transpose().map_err(PartitionError::Trace)? else { break };
        if let Some((id, parents)) = second_parent(&row, &mut parents) {
            return Err(PartitionError::TwoParents { path: path.to_owned(), line: rows.line(), id, parents });
        }
        let mut prompt = Vec::new();
        let expanded = expansion.expand(&row, &mut prompt);
        expanded.map_err(|error| PartitionError::Trace(rows.error(Reason::Expand(error))))?;
        arrivals.push(Arrival {
            at_ns: (row.timestamp - *first.get_or_insert(row.timestamp)).saturating_mul(NS_PER_MS),
            prompt: prompt.into(),
            input_tokens: row.input_length.into(),
            output_tokens: row.output_length.into(),
            text: 0,
        });
    }
    Ok(arrivals)
}

/// Returns an id of the row that followed a different id before, and both of these, if there is one: it does not stand
/// for one prefix.
fn second_parent(row: &Row, parents: &mut HashMap<u64, Option<u64>>) -> Option<(u64, [Option<u64>; 2])> {
    let mut parent = None;
    for &id in &row.hash_ids {
        match parents.entry(id) {
            Entry::Vacant(entry) => _ = entry.insert(parent),
            Entry::Occupied(entry) if *entry.get() != parent => return Some((id, [*entry.get(), parent])),
            Entry::Occupied(_) => {}
        }
        parent = Some(id);
    }
    None
}

/// Turns each block of the prompt into `length_factor` blocks, the first of which keeps its hash.
fn lengthen(mut arrival: Arrival, number: u64, partition: &Partition) -> Result<Arrival, PartitionError> {
    let Partition { engine, length_factor, .. } = partition;
    let factor = u64::from(*length_factor);
    let added = (arrival.prompt.len() as u64 * (factor - 1)).saturating_mul(engine.block_size.into());
    arrival.input_tokens = arrival.input_tokens.saturating_add(added);
    // Checked before the hashes are made, of which there may be too many.
    let blocks = arrival.request().blocks(engine.block_size);
    if blocks > engine.blocks.into() {
        return Err(PartitionError::TooLong { request: number, blocks, capacity: engine.blocks });
    }
    if factor > 1 {
        let part = |local: u64, part: u64| if part == 0 { local } else { hash_pair(local, part) };
        arrival.prompt = arrival.prompt.iter().flat_map(|&local| (0..factor).map(move |k| part(local, k))).collect();
    }
    Ok(arrival)
}

/// Returns a copy of the request with different blocks; copy 0 has the same blocks.
fn duplicate(arrival: &Arrival, copy: u32) -> Arrival {
    let mut arrival = arrival.clone();
    if copy > 0 {
        let copy = hash_pair(COPY, copy.into());
        for local in &mut arrival.prompt {
            *local = hash_pair(copy, *local);
        }
    }
    arrival
}
