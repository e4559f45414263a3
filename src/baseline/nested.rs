//! The first design: a nested dictionary behind one lock. Each worker has a map from local hash to the sequence hashes
//! that were stored with it.
//!
//! **Cost**: a lookup walks the query once for every worker of the fleet, and the removal of a block searches everything
//! that its worker holds. All events and lookups wait for each other.
//!
//! **Wrong answers**, all of them too deep, because a block counts wherever the worker holds it:
//! - under another prefix: two sequences that share a block lend it to each other;
//! - at another position, or in another order;
//! - beyond a hole, if the missing block is held elsewhere;
//! - without a parent: parents are ignored, so blocks stored after an unknown block count, too;
//! - at its old place, after its sequence hash was given to another block.

use rustc_hash::{FxHashMap, FxHashSet};

use super::model::Model;
use crate::event::{Event, EventData, Worker};
use crate::index::Rejection;

#[derive(Debug, Default)]
pub(super) struct Nested {
    /// The sequence hashes by worker and local hash; no set is empty.
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
