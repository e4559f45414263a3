//! What a shard knows of one worker.

use std::time::Duration;

use hashbrown::HashMap;

use super::blocks::BlockMap;
use super::left_out::LeftOut;
use super::multiset::Multiset;
use super::run::Place;
use crate::event::Worker;
use crate::index::error::Rejection;
use crate::index::shared::mix::BuildMix;

/// The state of one worker.
#[derive(Debug, Default)]
pub(crate) struct WorkerState {
    pub(crate) worker: Worker,
    pub(crate) blocks: BlockMap,
    /// For each place under more than one sequence hash, how many there are beyond the first.
    pub(crate) twins: HashMap<Place, u32, BuildMix>,
    /// Copies of held blocks beyond the first. `None` if copies are not counted: then storing a block again changes
    /// nothing, and one removal ends it.
    pub(crate) copies: Option<Box<Multiset>>,
    pub(crate) left_out: Option<Box<LeftOut>>,
    pub(crate) counters: Counters,
}

/// What is counted of a worker.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    pub(crate) last_event_id: Option<u64>,
    pub(crate) lag: Option<Duration>,
    pub(crate) gaps: u64,
    pub(crate) missing_events: u64,
    pub(crate) repeated_events: u64,
    pub(crate) unknown_removals: u64,
    pub(crate) rejected: [u64; Rejection::ALL.len()],
}

impl WorkerState {
    /// Counts a copy of a block that was stored again where it is.
    #[inline]
    pub(crate) fn add_copy(&mut self, sequence: u64) {
        if let Some(copies) = &mut self.copies {
            copies.add(sequence);
        }
    }

    /// Forgets the copies of a block beyond the first.
    #[inline]
    pub(crate) fn forget_copies(&mut self, sequence: u64) {
        if let Some(copies) = &mut self.copies {
            copies.take_all(sequence);
        }
    }

    /// Whether any block has a copy beyond the first.
    #[inline]
    pub(crate) fn has_copies(&self) -> bool {
        self.copies.as_ref().is_some_and(|copies| copies.total() > 0)
    }

    /// Takes away one copy of each of these blocks, and returns the blocks that had no other copy.
    #[cold]
    pub(crate) fn take_copies(&mut self, blocks: &[u64]) -> Vec<u64> {
        let mut take = |sequence| self.copies.as_mut().is_some_and(|copies| copies.take(sequence));
        blocks.iter().copied().filter(|&sequence| !take(sequence)).collect()
    }

    /// Counts the removal of a block that is not held. It may have been left out.
    #[cold]
    pub(crate) fn miss(&mut self, sequence: u64) {
        self.counters.unknown_removals += 1;
        if let Some(left_out) = &mut self.left_out {
            left_out.take(sequence);
        }
    }

    /// How many bytes it has on the heap.
    pub(crate) fn bytes(&self) -> usize {
        self.blocks.bytes()
            + self.twins.allocation_size()
            + self.copies.as_deref().map_or(0, |copies| size_of::<Multiset>() + copies.bytes())
            + self.left_out.as_deref().map_or(0, |left_out| size_of::<LeftOut>() + left_out.bytes())
    }
}

impl Counters {
    /// Notes an event's id, and whether it continues the last one.
    pub(crate) fn note(&mut self, id: u64) {
        if let Some(last) = self.last_event_id {
            if id <= last {
                self.repeated_events += 1;
            } else if id > last + 1 {
                self.gaps += 1;
                self.missing_events = self.missing_events.saturating_add(id - last - 1);
            }
        }
        self.last_event_id = Some(id);
    }
}
