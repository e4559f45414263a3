//! A worker's cutoff in one run, while an event changes it.

use std::ops::Range;

use super::run::{Place, RunId};
use super::runs::Runs;
use super::worker::WorkerState;
use crate::index::shared::holders::Slot;

/// The cutoff of the event's worker in the run that the event is at.
///
/// An event changes a cutoff block by block, up or down, and a run's holders are expensive to change. So the cutoff is
/// kept here while consecutive blocks are in one run, and written back once: when the event turns to another run, or at
/// its end ([`PendingCutoff::settle`], without which the run never hears of it). Until then the run's holders are out of
/// date for this worker, and only for this worker; detached ranges are always up to date.
///
/// The order for each block of an event is: the worker's map first, then [`hold_all`](Self::hold_all) or
/// [`release`](Self::release), which also keep the worker's twins. After the last block come `settle` and then
/// [`Runs::reclaim`], which must see the final cutoffs.
pub(crate) struct PendingCutoff {
    slot: Slot,
    /// The run that the event is at; means nothing before the first one.
    run: RunId,
    cutoff: u32,
    /// The cutoff that the run's holders have.
    written: u32,
    /// Whether the event released something in this run, so that it may have become unnecessary.
    released: bool,
    /// Whether the event is at a run.
    open: bool,
}

impl PendingCutoff {
    pub(crate) fn new(slot: Slot) -> Self {
        Self { slot, run: 0, cutoff: 0, written: 0, released: false, open: false }
    }

    fn turn_to(&mut self, runs: &mut Runs, run: RunId) {
        if !self.open || self.run != run {
            self.settle(runs);
            let cutoff = runs.get(run).holders.cutoff(self.slot);
            *self = Self { run, cutoff, written: cutoff, open: true, ..Self::new(self.slot) };
        }
    }

    /// The worker stored the block at `place` under one more sequence hash.
    fn hold(&mut self, runs: &mut Runs, state: &mut WorkerState, place: Place) {
        self.turn_to(runs, place.run);
        let run = runs.get_mut(place.run);
        if run.holds(self.slot, self.cutoff, place.offset) {
            *state.twins.entry(place).or_default() += 1;
        } else {
            self.cutoff = run.hold(self.slot, self.cutoff, place.offset);
        }
    }

    /// The worker stored these blocks of a run, each under one more sequence hash.
    pub(crate) fn hold_all(&mut self, runs: &mut Runs, state: &mut WorkerState, run: RunId, offsets: Range<u32>) {
        if offsets.is_empty() {
            return;
        }
        self.turn_to(runs, run);
        // The common case: the worker goes on where it ended, and nobody holds anything beyond a hole.
        if offsets.start == self.cutoff && runs.get(run).detached.is_none() {
            self.cutoff = offsets.end;
        } else {
            for offset in offsets {
                self.hold(runs, state, Place { offset, run });
            }
        }
    }

    /// The worker no longer stores the block at `place` under one of its sequence hashes.
    pub(crate) fn release(&mut self, runs: &mut Runs, state: &mut WorkerState, place: Place) {
        // With a twin, the block stays held: only the number of its names goes down.
        if !state.twins.is_empty()
            && let Some(more) = state.twins.get_mut(&place)
        {
            *more -= 1;
            if *more == 0 {
                state.twins.remove(&place);
            }
            return;
        }
        self.turn_to(runs, place.run);
        self.released = true;
        // The common case: a cache evicts a sequence from its tail.
        if place.offset + 1 == self.cutoff {
            self.cutoff = place.offset;
            return;
        }
        self.cutoff = runs.get_mut(place.run).release(self.slot, self.cutoff, place.offset);
    }

    /// Writes the cutoff back to the run.
    pub(crate) fn settle(&mut self, runs: &mut Runs) {
        if self.open {
            if self.cutoff != self.written {
                runs.set_cutoff(self.run, self.slot, self.cutoff);
            }
            if self.released {
                runs.loosen(self.run);
            }
            self.open = false;
        }
    }
}
