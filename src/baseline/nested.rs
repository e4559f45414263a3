//! The first design: a nested dictionary, behind one lock. What a worker holds is a map from local hash to the sequence
//! hashes that were stored with it.
//!
//! **Cost**: a lookup walks the query once for every worker of the fleet, and a removed block is searched for in all
//! that its worker holds. Everybody waits for everybody.
//!
//! **Wrong answers**, all of them too deep: a block counts wherever the worker holds it, so
//! - under another prefix: two sequences that share a block lend it to each other;
//! - at another position, or in another order;
//! - beyond a hole, where the missing block is held elsewhere;
//! - without a parent: nobody looks at it, so what is stored behind an unknown block is taken, too;
//! - where it was, after its name was given to another block.

use rustc_hash::{FxHashMap, FxHashSet};

use super::model::Model;
use crate::{Event, EventData, Rejection, Worker};

#[derive(Debug, Default)]
pub(super) struct Nested {
    /// By worker and local hash: the sequence hashes, never none.
    workers: FxHashMap<Worker, FxHashMap<u64, FxHashSet<u64>>>,
}

impl Model for Nested {
    fn apply(&mut self, event: &Event) -> Result<(), Rejection> {
        match &event.data {
            EventData::Stored { parent: _, blocks } => {
                let held = self.workers.entry(event.worker).or_default();
                for block in blocks {
                    held.entry(block.local).or_default().insert(block.sequence);
                }
            }
            EventData::Removed { blocks } => {
                let held = self.workers.entry(event.worker).or_default();
                for sequence in blocks {
                    held.retain(|_, sequences| {
                        sequences.remove(sequence);
                        !sequences.is_empty()
                    });
                }
            }
            EventData::Cleared | EventData::WorkerRemoved => {
                self.workers.remove(&event.worker);
            }
            EventData::WorkerAdded | EventData::CopiesCounted => {}
        }
        Ok(())
    }

    fn find(&self, query: &[u64], scores: &mut Vec<(Worker, u32)>) {
        for (&worker, held) in &self.workers {
            let depth = query.iter().take_while(|&local| held.contains_key(local)).count();
            if depth > 0 {
                scores.push((worker, depth as u32));
            }
        }
    }
}
