//! Hands a workload to a system: times its events chunk by chunk, and converts a sample of its queries.

use std::time::Instant;

use crate::place::applying;
use crate::systems::{Open, Reader, Writer};
use crate::workload::Workload;

/// Blocks that are handed over between two readings of the clock. There are enough of them to make the cost of a flush
/// negligible, and few enough that the events are still in cache, as they are when they have just been received.
const CHUNK: usize = 32_768;
/// The same where another core applies them: to flush, that is to wait for it, takes longer.
const SEPARATED_CHUNK: usize = 8 * CHUNK;

/// What was written, and how long it took.
pub struct Fed {
    pub ns: f64,
    pub blocks: f64,
    /// Nanoseconds per block of the median chunk.
    pub p50: f64,
}

/// Hands `events` over chunk by chunk, and flushes after each chunk. Making the events is not timed.
pub fn feed<W: Writer, R>(index: &mut Open<W, R>, events: impl Iterator<Item = kvleap::Event>) -> Fed {
    let Open { encode, writer, .. } = index;
    let chunk_size = if applying().is_some() { SEPARATED_CHUNK } else { CHUNK };
    let mut fed = Fed { ns: 0.0, blocks: 0.0, p50: 0.0 };
    let mut rates = Vec::new();
    let mut chunk = Vec::new();
    let mut blocks = 0;
    let mut events = events.peekable();
    while let Some(event) = events.next() {
        blocks += event.data.len();
        chunk.push(encode(event));
        if blocks >= chunk_size || events.peek().is_none() {
            let start = Instant::now();
            chunk.drain(..).for_each(|event| writer.apply(event));
            writer.flush();
            let ns = start.elapsed().as_nanos() as f64;
            rates.push(ns / blocks as f64);
            fed.ns += ns;
            fed.blocks += blocks as f64;
            blocks = 0;
        }
    }
    rates.sort_unstable_by(f64::total_cmp);
    fed.p50 = rates.get(rates.len() / 2).copied().unwrap_or(0.0);
    fed
}

/// Returns up to `count` queries, taken evenly from all requests.
pub fn sample<R: Reader>(workload: &Workload, reader: &R, count: usize) -> Vec<R::Query> {
    let mut hashes = Vec::new();
    (0..workload.requests())
        .step_by(workload.requests().div_ceil(count))
        .map(|step| {
            workload.query(step, &mut hashes);
            reader.query(&hashes)
        })
        .collect()
}
