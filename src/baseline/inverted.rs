//! The third design: an inverted index, behind an actor. A local hash leads to the sequence hashes that were stored with
//! it, and those to their workers.
//!
//! **Cost**: a lookup walks the query once, and at every block makes the union of the workers there: O(D + W) in the
//! story, though where W workers share D blocks the unions alone are D * W. A removed block is searched for in the
//! whole index, and so is what a worker held when it is cleared.
//!
//! **Wrong answers**, all of them too deep: those of the [nested dictionary](super::nested). The sequence hashes that
//! could tell prefixes apart are there, but the query has none to compare.

use rustc_hash::{FxHashMap, FxHashSet};

use super::model::{Model, drain};
use crate::{Event, EventData, Rejection, Worker};

/// By sequence hash: the workers that hold the block, never none.
type Holders = FxHashMap<u64, FxHashSet<Worker>>;

#[derive(Debug, Default)]
pub(super) struct Inverted {
    /// By local hash; never without holders.
    index: FxHashMap<u64, Holders>,
}

impl Inverted {
    /// Takes the worker from the blocks with that sequence hash; from all blocks if there is none.
    fn remove(&mut self, worker: Worker, sequence: Option<u64>) {
        self.index.retain(|_, holders| {
            holders.retain(|&named, workers| {
                if sequence.is_none_or(|sequence| sequence == named) {
                    workers.remove(&worker);
                }
                !workers.is_empty()
            });
            !holders.is_empty()
        });
    }

    fn workers_at(&self, local: u64) -> FxHashSet<Worker> {
        self.index.get(&local).into_iter().flat_map(Holders::values).flatten().copied().collect()
    }
}

impl Model for Inverted {
    fn apply(&mut self, event: &Event) -> Result<(), Rejection> {
        match &event.data {
            EventData::Stored { parent: _, blocks } => {
                for block in blocks {
                    self.index.entry(block.local).or_default().entry(block.sequence).or_default().insert(event.worker);
                }
            }
            EventData::Removed { blocks } => {
                for &sequence in blocks {
                    self.remove(event.worker, Some(sequence));
                }
            }
            EventData::Cleared | EventData::WorkerRemoved => self.remove(event.worker, None),
            EventData::WorkerAdded | EventData::CopiesCounted => {}
        }
        Ok(())
    }

    fn find(&self, query: &[u64], scores: &mut Vec<(Worker, u32)>) {
        let Some((&first, rest)) = query.split_first() else { return };
        let mut active: Vec<_> = self.workers_at(first).into_iter().collect();
        for (depth, &local) in (1..).zip(rest) {
            if active.is_empty() {
                return;
            }
            let here = self.workers_at(local);
            drain(&mut active, depth, scores, |worker| here.contains(worker));
        }
        scores.extend(active.into_iter().map(|worker| (worker, query.len() as u32)));
    }
}
