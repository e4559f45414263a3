//! The tail of a run becomes a child of it, so that a conversation stays in one run.
//!
//! An engine stores a prompt at once, and the blocks that it decodes one by one, each behind the last. The next turn of
//! the conversation mostly does not repeat exactly these blocks, so it leaves the run where they begin. If the turn
//! became a child there, every turn would be a run of its own, and a lookup of a conversation would walk through all of
//! them. So the blocks behind that place, the *tail*, become the child instead, and the run goes on with the turn.
//!
//! Moving a block means changing its place in the map of every worker that holds it, and maps are searched by sequence
//! hash. So a run logs under which sequence hashes its latest blocks were stored, as long as they come one by one
//! (`log.rs`). The log may be out of date, or have gaps. So a tail is moved only if the maps confirm that the log has
//! every name that leads into it. That can be counted: a worker that holds so many blocks of the tail has so many names
//! for them, unless one of them has a twin.
//!
//! A tail with a twin, a detached block or a child stays where it is, because something else knows its places.
//!
//! Where children hang off the block before the tail already, nothing is moved. So each branch point has one tail at
//! most, and the run is not copied again for each of many sequences that part there.

use super::log::Entry;
use super::run::Place;
use super::runs::Runs;
use super::worker::WorkerState;
use crate::index::shared::holders::EMPTY;

/// How many blocks of a run may be copied for each block that the run goes on with. Applying a block takes about as
/// long as copying a hundred, so the move of a tail takes a few times as long as the event without it, at most.
const COPIED: usize = 256;

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
    let Some(tail) = names(runs, workers, parent) else { return };
    if !tail.is_empty() {
        let Some(child) = runs.branch_off(parent) else { return };
        for of_worker in tail.chunk_by(|a, b| a.slot == b.slot) {
            let slot = of_worker[0].slot;
            for &Entry { offset, sequence, .. } in of_worker {
                workers[slot as usize].blocks.relocate(sequence, Place { run: child, offset: offset - kept });
            }
            runs.set_cutoff(parent.run, slot, kept);
            runs.set_cutoff(child, slot, of_worker.len() as u32);
        }
    }
    runs.trim(parent.run, kept, kept as usize + more);
}

/// Every name that leads into the tail behind `parent`, by worker and offset. `None` if the log does not have all of
/// them, or if a block has two.
fn names(runs: &Runs, workers: &[WorkerState], parent: Place) -> Option<Vec<Entry>> {
    let run = runs.get(parent.run);
    let mut names = Vec::new();
    for entry in run.log.entries.iter().filter(|entry| entry.offset > parent.offset) {
        let (state, place) = (&workers[entry.slot as usize], Place { offset: entry.offset, ..parent });
        if state.blocks.get(entry.sequence) == Some(place) {
            if state.twins.contains_key(&place) {
                return None;
            }
            names.push(*entry);
        }
    }
    // The same may have been stored again.
    names.sort_unstable();
    names.dedup();
    let kept = parent.offset + 1;
    let mut room = EMPTY;
    let deeper = run.holders.groups(&mut room).iter().take_while(|group| group.cutoff > kept);
    let held: u64 = deeper.map(|g| u64::from(g.chunk.bits.count_ones()) * u64::from(g.cutoff - kept)).sum();
    (names.len() as u64 == held).then_some(names)
}
