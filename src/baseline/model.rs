//! Designs as plain state machines, without threads or locks of their own.

use rustc_hash::FxHashSet;

use crate::baseline::reference::Reference;
use crate::event::{Event, EventData, Worker};
use crate::index::Rejection;

/// How a design applies events and answers queries. A lock, an actor or a pool makes a [`Backend`](super::Backend) of it.
///
/// A model that can be cloned is a handle: its clones share one state.
pub(super) trait Model: Default {
    /// Applies one event, or changes nothing and says why.
    fn apply(&mut self, event: &Event) -> Result<(), Rejection>;

    /// Adds to `scores`, which is empty, how many leading blocks of the query each worker holds, without the workers that
    /// hold none.
    fn find(&self, query: &[u64], scores: &mut Vec<(Worker, u32)>);
}

impl Model for Reference {
    fn apply(&mut self, event: &Event) -> Result<(), Rejection> {
        self.apply(event)
    }

    fn find(&self, query: &[u64], scores: &mut Vec<(Worker, u32)>) {
        scores.extend(self.find(query));
    }
}

/// A historic design behind what the story leaves out: it remembers removed workers, and rejects invalid events before
/// the design sees them.
#[derive(Clone, Debug, Default)]
pub(super) struct Admitted<M> {
    removed: FxHashSet<Worker>,
    design: M,
}

impl<M: Model> Model for Admitted<M> {
    fn apply(&mut self, event: &Event) -> Result<(), Rejection> {
        match &event.data {
            EventData::WorkerAdded => {
                self.removed.remove(&event.worker);
            }
            EventData::WorkerRemoved => {
                self.removed.insert(event.worker);
            }
            _ if self.removed.contains(&event.worker) => return Err(Rejection::WorkerRemoved),
            EventData::Stored { blocks, .. } if blocks.is_empty() => return Err(Rejection::Empty),
            EventData::Removed { blocks } if blocks.is_empty() => return Err(Rejection::Empty),
            EventData::Stored { parent, blocks } => {
                let mut previous = *parent;
                if blocks.iter().any(|block| previous.replace(block.sequence) == Some(block.sequence)) {
                    return Err(Rejection::SelfParent);
                }
            }
            EventData::Removed { .. } | EventData::Cleared | EventData::CopiesCounted => {}
        }
        self.design.apply(event)
    }

    fn find(&self, query: &[u64], scores: &mut Vec<(Worker, u32)>) {
        self.design.find(query, scores);
    }
}

/// Drops the `active` workers that do not stay, and adds them to `scores` with the depth that they have reached.
pub(super) fn drain(
    active: &mut Vec<Worker>,
    depth: u32,
    scores: &mut Vec<(Worker, u32)>,
    stays: impl Fn(&Worker) -> bool,
) {
    active.retain(|worker| {
        let stays = stays(worker);
        if !stays {
            scores.push((*worker, depth));
        }
        stays
    });
}
