//! The tail of a run becomes a child of it, so that a conversation stays in one run.
//!
//! An engine stores a prompt at once, and the blocks that it decodes one by one, each behind the last. The next turn of
//! the conversation mostly does not repeat exactly these blocks, so it leaves the run where they begin. If the turn became
//! a child there, every turn would be a run of its own, and a lookup of a conversation would walk through all of them. So
//! the blocks behind that place, the *tail*, become the child instead, and the run goes on with the turn.
//!
//! Moving a block means changing its place in the map of every worker that holds it, and a map is found by sequence hashes
//! only. So a run logs under which sequence hashes its latest blocks were stored, as long as they come one by one. The log
//! is a hint: some of it may be out of date, and something may be missing. A tail is moved only if the maps confirm that
//! the log has every entry that leads into the tail, which is because
//!
//! - a worker that holds `n` blocks of a run has `n` entries in its map for them, unless it has twins there, and
//! - no block of the tail has a twin, is detached, or is the parent of a run, so nothing else knows its place.
//!
//! Where children hang off the block before the tail already, nothing is moved. So each branch point has one tail at most,
//! and the run is not copied again for each of many sequences that part there.

use super::run::{Place, Run};
use super::runs::Runs;
use super::worker::WorkerState;
use crate::event::Block;
use crate::index::shared::holders::{EMPTY, Slot};

/// The most entries of a log. A tail of more holdings is not moved, so the move takes hardly longer than an event.
const LOGGED: usize = 64;

/// How many blocks of a run may be copied for each block that the run goes on with. Applying a block takes about as long
/// as copying a hundred, so the move of a tail takes a few times as long as the event without it, at most.
const COPIED: usize = 256;

/// The sequence hashes under which the latest blocks of a run were stored.
#[derive(Debug, Default)]
pub(super) struct Log {
    entries: Vec<Entry>,
}

/// A worker stored the block at this offset under this sequence hash.
#[derive(Debug)]
struct Entry {
    sequence: u64,
    slot: Slot,
    offset: u32,
}

impl Log {
    /// Notes that a worker stored these blocks, the first of them at `offset`. Returns whether there was room for them.
    pub(super) fn note(&mut self, slot: Slot, offset: u32, blocks: &[Block]) -> bool {
        let has_room = self.entries.len() + blocks.len() <= LOGGED;
        if has_room {
            let entries =
                (offset..).zip(blocks).map(|(offset, block)| Entry { sequence: block.sequence, slot, offset });
            self.entries.extend(entries);
        }
        has_room
    }

    /// Forgets what was said of blocks from this offset on.
    pub(super) fn truncate(&mut self, len: u32) {
        self.entries.retain(|entry| entry.offset < len);
    }

    /// How many bytes it has on the heap.
    pub(super) fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
    }

    /// Every entry of a worker's map that leads into the tail of this run behind `parent`: the worker, the offset and the
    /// sequence hash, in this order. `None` if the log does not have all of them.
    fn tail(&self, run: &Run, parent: Place, workers: &[WorkerState]) -> Option<Vec<(Slot, u32, u64)>> {
        let mut found = Vec::new();
        for &Entry { sequence, slot, offset } in self.entries.iter().filter(|entry| entry.offset > parent.offset) {
            let (state, place) = (&workers[slot as usize], Place { offset, ..parent });
            if state.blocks.get(sequence) == Some(place) {
                if state.twins.contains_key(&place) {
                    return None;
                }
                found.push((slot, offset, sequence));
            }
        }
        // The same may have been stored again.
        found.sort_unstable();
        found.dedup();
        let kept = parent.offset + 1;
        let mut room = EMPTY;
        let deeper = run.holders.groups(&mut room).iter().take_while(|group| group.cutoff > kept);
        let held: u64 = deeper.map(|g| u64::from(g.chunk.bits.count_ones()) * u64::from(g.cutoff - kept)).sum();
        (found.len() as u64 == held).then_some(found)
    }
}

/// Whether a chain with these prefix hashes, which continues `parent`, leaves its run there before a tail that might be
/// moved: one that came block by block, and of which nothing knows but cutoffs and maps.
#[inline]
pub(super) fn is_left(runs: &Runs, parent: Place, prefixes: &[u64]) -> bool {
    let run = runs.get(parent.run);
    let kept = parent.offset + 1;
    (run.whole..run.len).contains(&kept)
        && run.prefixes.get(kept) != prefixes[0]
        && run.branches.last().is_none_or(|&(offset, _)| offset < parent.offset)
        && run.detached_end() <= kept
        && kept as usize <= COPIED * prefixes.len()
}

/// Ends a run at `parent`. What is held of the tail becomes a child of `parent`. The run gets an array of its own, with
/// room for so many `more` blocks.
///
/// Does nothing if the log does not have all that leads into the tail, or if another run begins with the prefix hash of
/// its first block. Cutoffs must be settled.
#[inline(never)]
pub(super) fn cut_off(runs: &mut Runs, workers: &mut [WorkerState], parent: Place, more: usize) {
    let kept = parent.offset + 1;
    let run = runs.get(parent.run);
    let Some(tail) = run.log.tail(run, parent, workers) else { return };
    if !tail.is_empty() {
        let Some(child) = runs.branch_off(parent) else { return };
        for of_worker in tail.chunk_by(|a, b| a.0 == b.0) {
            let slot = of_worker[0].0;
            for &(_, offset, sequence) in of_worker {
                workers[slot as usize].blocks.relocate(sequence, Place { run: child, offset: offset - kept });
            }
            runs.set_cutoff(parent.run, slot, kept);
            runs.set_cutoff(child, slot, of_worker.len() as u32);
        }
    }
    runs.trim(parent.run, kept, kept as usize + more);
}
