//! The third design: an inverted index, as search engines have it, behind an actor. A local hash leads to the sequence
//! hashes that were stored with it, and these lead to their workers.
//!
//! **Cost**: a lookup walks the query once, and unites the workers at every block. The story says O(D + W), but where W
//! workers share D blocks the unions alone are D * W. The removal of a block searches the whole index, and so does the
//! clearing of a worker.
//!
//! **Wrong answers**, all of them too deep: those of the [nested dictionary](super::nested). The index has the sequence
//! hashes that could tell prefixes apart, but the query has none to compare them with.

use rustc_hash::{FxHashMap, FxHashSet};

use super::model::{Model, drain};
use crate::event::{Event, EventData, Worker};
use crate::index::Rejection;

/// The workers that hold a block, by sequence hash; no set is empty.
type Holders = FxHashMap<u64, FxHashSet<Worker>>;

#[derive(Debug, Default)]
pub(super) struct Inverted {
    /// The holders by local hash; no map is empty.
    index: FxHashMap<u64, Holders>,
}

impl Inverted {
    /// Removes the worker from the blocks with that sequence hash, or from all blocks without one.
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
