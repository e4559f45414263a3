//! Events and queries for which a design that is not exact gives wrong answers.

use super::Backend;
use super::reference::Reference;
use crate::event::{Block, Event, EventData, Worker};

/// Prompts that share blocks without sharing prefixes, like documents after different instructions.
///
/// There are four instructions and four documents of 32 blocks each, and eight workers. Every worker has cached two
/// prompts, each of an instruction and the document with the same number, and no others. Worker 7 then evicted a block in
/// the middle of one. Nothing else is unusual: blocks are stored in order, after their parents, and under one sequence
/// hash.
#[derive(Clone, Debug)]
pub struct Collisions {
    /// The workers' events, in this order.
    pub events: Vec<Event>,
    /// The prompts to look up after that, as local hashes: every document after every instruction, once whole, and once
    /// with one block of the instruction replaced by a block that nobody holds.
    pub queries: Vec<Vec<u64>>,
}

/// The number of instructions, and of documents.
const KINDS: u64 = 4;
/// Blocks in an instruction, and in a document.
const LEN: u64 = 32;
/// The block that is replaced in edited prompts, and the one that worker 7 evicts.
const MIDDLE: usize = LEN as usize / 2;

impl Collisions {
    /// Creates the workload, the same every time.
    pub fn new() -> Self {
        let mut events = Vec::new();
        for id in 0..2 * KINDS {
            let worker = Worker::new(id, 0);
            let mut say = |id, data| events.push(Event { worker, id, data });
            for (number, kind) in [(1, id % KINDS), (2, (id + 1) % KINDS)] {
                // Every worker names its blocks in its own way.
                let names = (id << 32 | number << 16)..;
                let blocks = names.zip(prompt(kind, kind)).map(|(sequence, local)| Block { sequence, local }).collect();
                say(number, EventData::Stored { parent: None, blocks });
            }
            if id == 7 {
                say(3, EventData::Removed { blocks: vec![id << 32 | 1 << 16 | MIDDLE as u64] });
            }
        }
        let mut queries = Vec::new();
        for kind in 0..KINDS * KINDS {
            let whole = prompt(kind / KINDS, kind % KINDS);
            let mut edited = whole.clone();
            edited[MIDDLE] = u64::MAX;
            queries.extend([whole, edited]);
        }
        Self { events, queries }
    }

    /// Feeds an empty backend, and counts the queries to which its answer differs from that of the [`Reference`].
    pub fn wrong_answers(&self, backend: &dyn Backend) -> usize {
        let mut reference = Reference::new();
        for event in &self.events {
            // No event of this workload is rejected.
            let _ = reference.apply(event);
            backend.apply(event.clone());
        }
        backend.flush();
        let mut reader = backend.reader();
        let mut scores = Vec::new();
        let wrong = self.queries.iter().filter(|query| {
            reader.find(query, &mut scores);
            scores.sort_unstable();
            scores != reference.find(query)
        });
        wrong.count()
    }
}

impl Default for Collisions {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns the local hashes of a document after an instruction.
fn prompt(instruction: u64, document: u64) -> Vec<u64> {
    let blocks = |first: u64| first..first + LEN;
    blocks(instruction * LEN).chain(blocks((KINDS + document) * LEN)).collect()
}
