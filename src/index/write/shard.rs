//! The state of a shard: a plain state machine that events change.

use std::collections::VecDeque;
use std::time::Duration;

use hashbrown::{HashMap, HashSet};

use super::cutoff::PendingCutoff;
use super::run::{Place, RunId};
use super::runs::{Change, Runs};
use super::tail;
use super::worker::WorkerState;
use crate::event::{Block, Event, EventData, Worker};
use crate::index::error::Rejection;
use crate::index::shared::holders::Slot;
use crate::index::shared::mix::BuildMix;
use crate::index::shared::prefix::PrefixHasher;

/// How many blocks ahead of the current one their map entries are fetched from memory.
const AHEAD: usize = 32;

/// The largest event, in blocks, whose working memory is kept for the next one.
const KEPT: usize = 4096;

/// How many removed workers a shard remembers, to reject their late events.
const REMOVED_REMEMBERED: usize = 4096;

/// The state of one shard.
#[derive(Debug)]
pub(crate) struct Shard {
    runs: Runs,
    workers: Vec<WorkerState>,
    slots: HashMap<Worker, Slot, BuildMix>,
    vacant: Vec<Slot>,
    names_changed: bool,
    /// The slots of the workers with left-out blocks, ascending.
    incomplete: Vec<Slot>,
    incomplete_changed: bool,
    /// The prefix hashes of the current event's blocks; here to keep the allocation.
    prefixes: Vec<u64>,
    removed: HashSet<Worker, BuildMix>,
    /// The removed workers, the one removed longest ago first.
    removed_order: VecDeque<Worker>,
    max_positions: u32,
    max_workers: u32,
    /// Rejected events of workers that have no state here.
    strangers: [u64; Rejection::ALL.len()],
    events: u64,
    event_blocks: u64,
}

impl Shard {
    pub(crate) fn new(hasher: PrefixHasher, max_positions: u32, max_workers: u32) -> Self {
        Self {
            runs: Runs::new(hasher),
            workers: Vec::new(),
            slots: HashMap::default(),
            vacant: Vec::new(),
            names_changed: true,
            incomplete: Vec::new(),
            incomplete_changed: false,
            prefixes: Vec::new(),
            removed: HashSet::default(),
            removed_order: VecDeque::new(),
            max_positions,
            max_workers,
            strangers: Default::default(),
            events: 0,
            event_blocks: 0,
        }
    }

    pub(crate) fn runs(&self) -> &Runs {
        &self.runs
    }

    /// Events applied or rejected so far: the watermark of a snapshot taken now.
    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    /// How many blocks the events so far named.
    pub(crate) fn event_blocks(&self) -> u64 {
        self.event_blocks
    }

    pub(crate) fn take_changes(&mut self, into: &mut Vec<Change>) {
        self.runs.take_changes(into);
    }

    /// The workers by slot, if they changed since the last call. A vacant slot has a default name.
    pub(crate) fn take_names(&mut self) -> Option<Vec<Worker>> {
        std::mem::take(&mut self.names_changed).then(|| self.workers.iter().map(|w| w.worker).collect())
    }

    /// The slots of incomplete workers, ascending, if they changed since the last call.
    pub(crate) fn take_incomplete(&mut self) -> Option<Vec<Slot>> {
        std::mem::take(&mut self.incomplete_changed).then(|| self.incomplete.clone())
    }

    /// Applies an event whole or, with a reason, not at all. An event that collides is applied up to the collision.
    pub(crate) fn apply(&mut self, event: &Event) -> Result<(), Rejection> {
        self.events += 1;
        self.event_blocks += event.data.len() as u64;
        let result = match &event.data {
            EventData::WorkerRemoved => {
                self.remove_worker(event.worker);
                Ok(())
            }
            EventData::WorkerAdded => self.know(event.worker).map(|_| {
                if self.removed.remove(&event.worker) {
                    self.removed_order.retain(|w| *w != event.worker);
                }
            }),
            EventData::CopiesCounted => self.admit(event.worker).map(|slot| {
                self.workers[slot as usize].copies.get_or_insert_default();
            }),
            _ => self.admit(event.worker).and_then(|slot| {
                self.workers[slot as usize].counters.note(event.id);
                self.change(slot, &event.data)
            }),
        };
        if let Err(rejection) = result {
            self.count(event, rejection);
            self.leave_out(event);
        }
        result
    }

    /// Applies an event of an export. Unlike in [`Shard::apply`], the event's id need not continue the last one, a worker
    /// that is added loses what it had, and a removal takes all copies of a block away.
    pub(crate) fn import(&mut self, event: &Event) -> Result<(), Rejection> {
        if let Some(&slot) = self.slots.get(&event.worker) {
            let state = &mut self.workers[slot as usize];
            state.counters.last_event_id = None;
            match &event.data {
                EventData::WorkerAdded => {
                    state.copies = None;
                    self.clear(slot);
                }
                EventData::Removed { blocks } => blocks.iter().for_each(|&sequence| state.forget_copies(sequence)),
                _ => {}
            }
        }
        self.apply(event)
    }

    fn change(&mut self, slot: Slot, data: &EventData) -> Result<(), Rejection> {
        match data {
            EventData::Stored { parent, blocks } => self.store(slot, *parent, blocks),
            EventData::Removed { blocks } => self.remove(slot, blocks),
            _ => {
                self.clear(slot);
                Ok(())
            }
        }
    }

    /// Stores a chain of blocks.
    ///
    /// All checks come first, so that an event is applied whole or not at all. Then the chain is placed piece by piece,
    /// a piece being what one run has or takes. Each block of a piece ends in one of three ways:
    ///
    /// - its sequence hash is new to the worker: it is held from now on;
    /// - the worker has it in this very place: one more copy, if copies are counted, and otherwise nothing;
    /// - the worker has it in another place: the engine reuses the name, so the old place is released.
    ///
    /// Blocks of the first kind mostly come in one stretch, `new`, which is handed over at once. It ends wherever a block
    /// of another kind comes, because releases and holds must reach the run in the order of the blocks.
    fn store(&mut self, slot: Slot, parent: Option<u64>, blocks: &[Block]) -> Result<(), Rejection> {
        let first = blocks.first().ok_or(Rejection::Empty)?;
        if parent == Some(first.sequence) || blocks.windows(2).any(|pair| pair[0].sequence == pair[1].sequence) {
            return Err(Rejection::SelfParent);
        }
        let state = &mut self.workers[slot as usize];
        let mut at = match parent {
            None => None,
            Some(sequence) => Some(state.blocks.get(sequence).ok_or(Rejection::UnknownParent)?),
        };
        let (position, prefix) = at.map_or((0, 0), |place| {
            let run = self.runs.get(place.run);
            (run.start + place.offset + 1, run.prefixes.get(place.offset))
        });
        if blocks.len() as u64 + u64::from(position) > u64::from(self.max_positions) {
            return Err(Rejection::TooDeep);
        }
        self.runs.hasher().chain(position, prefix, blocks.iter().map(|block| block.local), &mut self.prefixes);
        let mut pending = PendingCutoff::new(slot);
        blocks.iter().take(AHEAD).for_each(|block| state.blocks.prefetch(block.sequence));
        let mut done = 0;
        let mut result = Ok(());
        while done < blocks.len() {
            if let Some(parent) = at
                && tail::is_left(&self.runs, parent, &self.prefixes[done..])
            {
                pending.settle(&mut self.runs);
                tail::cut_off(&mut self.runs, &mut self.workers, parent, blocks.len() - done);
            }
            let state = &mut self.workers[slot as usize];
            let Some((first, count)) = self.runs.place(at, position + done as u32, &self.prefixes[done..]) else {
                // A collision. The engine has the rest of the chain somewhere else now, and the index nowhere, so what
                // the worker held under these names is released.
                for block in &blocks[done..] {
                    if let Some(old) = state.blocks.remove(block.sequence) {
                        state.forget_copies(block.sequence);
                        pending.release(&mut self.runs, state, old);
                    }
                }
                result = Err(Rejection::Collision);
                break;
            };
            let end = first.offset + count as u32;
            // What is new to the worker: usually all of the piece.
            let mut new = first.offset..first.offset;
            for (offset, block) in (first.offset..end).zip(&blocks[done..]) {
                if let Some(later) = blocks.get(done + AHEAD) {
                    state.blocks.prefetch(later.sequence);
                }
                done += 1;
                let place = Place { run: first.run, offset };
                let old = state.blocks.insert(block.sequence, place);
                if old == Some(place) {
                    state.add_copy(block.sequence);
                    pending.hold_all(&mut self.runs, state, first.run, new);
                    new = offset + 1..offset + 1;
                    continue;
                }
                new.end += 1;
                if let Some(old) = old {
                    state.forget_copies(block.sequence);
                    pending.hold_all(&mut self.runs, state, first.run, new);
                    new = offset + 1..offset + 1;
                    pending.release(&mut self.runs, state, old);
                }
            }
            pending.hold_all(&mut self.runs, state, first.run, new);
            self.runs.note(slot, first, &blocks[done - count..done]);
            at = Some(Place { run: first.run, offset: end - 1 });
        }
        if self.prefixes.capacity() > KEPT {
            self.prefixes = Vec::new();
        }
        pending.settle(&mut self.runs);
        self.runs.reclaim();
        // After a collision, all of them are left out again.
        if self.workers[slot as usize].left_out.is_some() {
            self.find_again(slot, blocks.iter().map(|block| block.sequence));
        }
        result
    }

    fn remove(&mut self, slot: Slot, blocks: &[u64]) -> Result<(), Rejection> {
        if blocks.is_empty() {
            return Err(Rejection::Empty);
        }
        let state = &mut self.workers[slot as usize];
        let last;
        let blocks = if state.has_copies() {
            last = state.take_copies(blocks);
            &last
        } else {
            blocks
        };
        let mut pending = PendingCutoff::new(slot);
        blocks.iter().take(AHEAD).for_each(|&sequence| state.blocks.prefetch(sequence));
        for (done, &sequence) in blocks.iter().enumerate() {
            if let Some(&later) = blocks.get(done + AHEAD) {
                state.blocks.prefetch(later);
            }
            match state.blocks.remove(sequence) {
                Some(place) => pending.release(&mut self.runs, state, place),
                None => state.miss(sequence),
            }
        }
        pending.settle(&mut self.runs);
        self.runs.reclaim();
        if self.workers[slot as usize].left_out.is_some() {
            self.find_again(slot, blocks.iter().copied());
        }
        Ok(())
    }

    fn clear(&mut self, slot: Slot) {
        let state = &mut self.workers[slot as usize];
        state.twins = HashMap::default();
        state.copies = state.copies.take().map(|_| Box::default());
        state.left_out = None;
        let mut runs: Vec<RunId> = state.blocks.take().iter().map(|(_, place)| place.run).collect();
        runs.sort_unstable();
        runs.dedup();
        for run in runs {
            self.runs.set_cutoff(run, slot, 0);
            self.runs.get_mut(run).forget(slot);
            self.runs.loosen(run);
        }
        self.runs.reclaim();
        self.mark(slot);
    }

    /// Remembers the blocks of a rejected store, because the engine may hold them.
    #[cold]
    fn leave_out(&mut self, event: &Event) {
        if let EventData::Stored { blocks, .. } = &event.data
            && let Some(&slot) = self.slots.get(&event.worker)
        {
            let state = &mut self.workers[slot as usize];
            for block in blocks {
                state.left_out.get_or_insert_default().add(block.sequence, state.copies.is_some());
            }
            self.mark(slot);
        }
    }

    /// Notes that an incomplete worker stored or removed these blocks, so that it is known again whether it holds them.
    /// Where copies are counted, this says nothing about the copies that were left out.
    #[cold]
    fn find_again(&mut self, slot: Slot, sequences: impl Iterator<Item = u64>) {
        let WorkerState { copies, left_out, .. } = &mut self.workers[slot as usize];
        if let (None, Some(left_out)) = (copies, left_out) {
            sequences.for_each(|sequence| left_out.forget(sequence));
        }
        self.mark(slot);
    }

    /// Enters the worker in the list of incomplete workers, or takes it out of it.
    fn mark(&mut self, slot: Slot) {
        let left_out = &mut self.workers[slot as usize].left_out;
        left_out.take_if(|left_out| left_out.len() == 0);
        match (self.incomplete.binary_search(&slot), left_out.is_some()) {
            (Err(at), true) => self.incomplete.insert(at, slot),
            (Ok(at), false) => drop(self.incomplete.remove(at)),
            _ => return,
        }
        self.incomplete_changed = true;
    }

    /// The slot of a worker from which an event may come: any that was not removed.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "for every event; the other caller is rare")]
    fn admit(&mut self, worker: Worker) -> Result<Slot, Rejection> {
        match self.slots.get(&worker) {
            Some(&slot) => Ok(slot),
            None if self.removed.contains(&worker) => Err(Rejection::WorkerRemoved),
            None => self.know(worker),
        }
    }

    /// The worker's slot. A new worker gets one.
    fn know(&mut self, worker: Worker) -> Result<Slot, Rejection> {
        if let Some(&slot) = self.slots.get(&worker) {
            return Ok(slot);
        }
        if self.slots.len() >= self.max_workers as usize {
            return Err(Rejection::TooManyWorkers);
        }
        let state = WorkerState { worker, ..WorkerState::default() };
        let slot = if let Some(slot) = self.vacant.pop() {
            self.workers[slot as usize] = state;
            slot
        } else {
            self.workers.push(state);
            (self.workers.len() - 1) as Slot
        };
        self.slots.insert(worker, slot);
        self.names_changed = true;
        Ok(slot)
    }

    fn remove_worker(&mut self, worker: Worker) {
        if let Some(slot) = self.slots.remove(&worker) {
            self.clear(slot);
            self.workers[slot as usize] = WorkerState::default();
            self.vacant.push(slot);
            self.names_changed = true;
        }
        if self.removed.insert(worker) {
            self.removed_order.push_back(worker);
            if self.removed_order.len() > REMOVED_REMEMBERED {
                self.removed.remove(&self.removed_order.pop_front().expect("not empty"));
            }
        }
    }

    fn count(&mut self, event: &Event, rejection: Rejection) {
        let counter = match self.slots.get(&event.worker) {
            Some(&slot) => &mut self.workers[slot as usize].counters.rejected[rejection as usize],
            None => &mut self.strangers[rejection as usize],
        };
        *counter += 1;
        // A misbehaving engine repeats itself, so this is logged at the first, second, fourth, eighth, ... time.
        if counter.is_power_of_two() {
            tracing::warn!(
                worker = %event.worker, event_id = event.id, blocks = event.data.len(), times = *counter,
                "event rejected: {rejection}"
            );
        }
    }

    /// Keeps the time that the worker's last event took, for its status. Only the caller has a clock.
    pub(crate) fn note_lag(&mut self, worker: Worker, lag: Duration) {
        if let Some(&slot) = self.slots.get(&worker) {
            self.workers[slot as usize].counters.lag = Some(lag);
        }
    }

    /// How many blocks are held, over all workers.
    pub(crate) fn held(&self) -> u64 {
        self.workers.iter().map(|w| w.blocks.len() as u64).sum()
    }

    /// How many events of workers without a state were rejected, by kind.
    pub(crate) fn strangers(&self) -> [u64; Rejection::ALL.len()] {
        self.strangers
    }

    /// How many bytes it has on the heap.
    pub(crate) fn bytes(&self) -> usize {
        self.runs.bytes()
            + self.slots.allocation_size()
            + self.prefixes.capacity() * 8
            + self.removed.allocation_size()
            + self.removed_order.capacity() * size_of::<Worker>()
            + self.incomplete.capacity() * size_of::<Slot>()
            + self.workers.capacity() * size_of::<WorkerState>()
            + self.workers.iter().map(WorkerState::bytes).sum::<usize>()
    }

    /// The workers with their slots.
    #[cfg(feature = "figures")]
    pub(crate) fn slots(&self) -> impl Iterator<Item = (Worker, Slot)> {
        self.slots.iter().map(|(&worker, &slot)| (worker, slot))
    }

    /// All workers' states by slot, those of vacant slots included.
    #[cfg(test)]
    pub(super) fn by_slot(&self) -> &[WorkerState] {
        &self.workers
    }

    /// A worker and what it holds.
    pub(crate) fn worker(&self, worker: Worker) -> Option<&WorkerState> {
        self.slots.get(&worker).map(|&slot| &self.workers[slot as usize])
    }

    /// The workers and what they hold.
    pub(crate) fn workers(&self) -> impl Iterator<Item = &WorkerState> {
        self.slots.values().map(|&slot| &self.workers[slot as usize])
    }
}
