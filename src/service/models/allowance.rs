//! What the memory budget allows one model.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::event::{Block, Worker};

/// How many blocks of a worker are remembered in the order in which they were stored.
const RECENT: usize = 1 << 14;

/// What the memory budget allows one model: whether it may take new content, and, if old content may have to be
/// forgotten, which blocks were stored last. The budget sets it, and ingest obeys it.
#[derive(Debug, Default)]
pub(in crate::service) struct Allowance {
    exhausted: AtomicBool,
    tracks_recency: AtomicBool,
    /// By worker, the sequence hashes that it stored last, oldest first.
    recent: Mutex<HashMap<Worker, VecDeque<u64>>>,
}

impl Allowance {
    /// Whether new content must be refused.
    pub(in crate::service) fn is_exhausted(&self) -> bool {
        self.exhausted.load(Relaxed)
    }

    /// Sets whether new content must be refused.
    pub(in crate::service) fn set_exhausted(&self, exhausted: bool) {
        self.exhausted.store(exhausted, Relaxed);
    }

    /// Begins to remember which blocks were stored last.
    pub(in crate::service) fn track_recency(&self) {
        self.tracks_recency.store(true, Relaxed);
    }

    /// Remembers that these blocks were stored last, if recency is tracked.
    pub(in crate::service) fn note_stored(&self, worker: Worker, blocks: &[Block]) {
        if self.tracks_recency.load(Relaxed) {
            let mut recent = self.recent();
            let recent = recent.entry(worker).or_default();
            let new = &blocks[blocks.len().saturating_sub(RECENT)..];
            recent.drain(..(recent.len() + new.len()).saturating_sub(RECENT));
            recent.extend(new.iter().map(|block| block.sequence));
        }
    }

    /// Forgets what a worker stored last, because it has left.
    pub(in crate::service) fn forget(&self, worker: Worker) {
        self.recent().remove(&worker);
    }

    /// Returns, by worker, the sequence hashes that it stored last, oldest first.
    pub(in crate::service) fn recent(&self) -> MutexGuard<'_, HashMap<Worker, VecDeque<u64>>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how many bytes the order of the last blocks takes.
    pub(in crate::service) fn bytes(&self) -> u64 {
        self.recent().values().map(|recent| recent.capacity() * size_of::<u64>()).sum::<usize>() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Worker = Worker::new(1, 0);

    #[test]
    fn the_last_blocks_of_a_worker_are_remembered_in_order() {
        let allowance = Allowance::default();
        let blocks: Vec<_> = (0..40_000).map(|name| Block { sequence: name, local: name }).collect();
        allowance.note_stored(A, &blocks[..10]);
        assert!(allowance.recent().is_empty(), "recency is not tracked yet");
        allowance.track_recency();
        allowance.note_stored(A, &blocks[..10]);
        allowance.note_stored(A, &blocks[10..20]);
        assert_eq!(allowance.recent()[&A], (0..20).collect::<Vec<_>>());
        allowance.note_stored(A, &blocks[20..RECENT + 5]);
        assert_eq!(allowance.recent()[&A], (5..RECENT as u64 + 5).collect::<Vec<_>>());
        allowance.note_stored(A, &blocks);
        assert_eq!(allowance.recent()[&A], (40_000 - RECENT as u64..40_000).collect::<Vec<_>>());
        assert!(allowance.recent()[&A].capacity() <= 2 * RECENT);
    }
}
