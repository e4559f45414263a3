//! A worker's cutoff while an event is applied.

use std::ops::Range;

use super::holders::Slot;
use super::run::{Place, RunId, Runs};
use super::worker::WorkerState;

/// A worker's cutoff in the run that its event is busy with. An event changes it block by block; the run hears of it
/// once, when the event moves on.
pub(crate) struct Holding {
    slot: Slot,
    run: RunId,
    cutoff: u32,
    /// What the run believes.
    known: u32,
    released: bool,
    anything: bool,
}

impl Holding {
    pub(crate) fn nothing(slot: Slot) -> Self {
        Self { slot, run: 0, cutoff: 0, known: 0, released: false, anything: false }
    }

    fn turn_to(&mut self, runs: &mut Runs, run: RunId) {
        if !self.anything || self.run != run {
            self.settle(runs);
            let cutoff = runs.get(run).holders.cutoff(self.slot);
            *self = Self { run, cutoff, known: cutoff, anything: true, ..Self::nothing(self.slot) };
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
        if offsets.start == self.cutoff && runs.get(run).detached.is_none() {
            self.cutoff = offsets.end;
        } else {
            for offset in offsets {
                self.hold(runs, state, Place { offset, run });
            }
        }
    }

    /// The worker has no longer stored the block at `place` under one of its sequence hashes.
    pub(crate) fn release(&mut self, runs: &mut Runs, state: &mut WorkerState, place: Place) {
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
        if place.offset + 1 == self.cutoff {
            self.cutoff = place.offset;
            return;
        }
        self.cutoff = runs.get_mut(place.run).release(self.slot, self.cutoff, place.offset);
    }

    pub(crate) fn settle(&mut self, runs: &mut Runs) {
        if self.anything {
            if self.cutoff != self.known {
                runs.set_cutoff(self.run, self.slot, self.cutoff);
            }
            if self.released {
                runs.loosen(self.run);
            }
            self.anything = false;
        }
    }
}
