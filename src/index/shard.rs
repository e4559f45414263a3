//! The truth: a plain state machine that events change. No thread, no clock, no lock.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use hashbrown::{HashMap, HashSet};

use super::blocks::BlockMap;
use super::error::Rejection;
use super::hasher::BuildMix;
use super::holders::Slot;
use super::left_out::LeftOut;
use super::multiset::Multiset;
use super::prefix::PrefixHasher;
use super::run::{Place, RunId, Runs};
use super::status::WorkerStatus;
use crate::event::{Block, Event, EventData, Worker};

/// How many blocks ahead of the one at work their places are fetched from memory.
const AHEAD: usize = 32;

/// How many blocks' worth of working memory is kept from event to event.
const KEPT: usize = 4096;

/// How many removed workers are remembered, so that their late events are rejected.
const REMOVED_REMEMBERED: usize = 4096;

/// The state of one shard.
#[derive(Debug)]
pub(crate) struct Shard {
    runs: Runs,
    workers: Vec<WorkerState>,
    slots: HashMap<Worker, Slot, BuildMix>,
    vacant: Vec<Slot>,
    names_changed: bool,
    /// Those of whom blocks were left out, ascending.
    incomplete: Vec<Slot>,
    incomplete_changed: bool,
    /// Of the event at work.
    prefixes: Vec<u64>,
    removed: HashSet<Worker, BuildMix>,
    removed_order: VecDeque<Worker>,
    max_positions: u32,
    max_workers: u32,
    /// Rejections of workers that have no state.
    strangers: [u64; Rejection::ALL.len()],
    events: u64,
    event_blocks: u64,
}

#[derive(Debug, Default)]
struct WorkerState {
    worker: Worker,
    blocks: BlockMap,
    /// Where more than one sequence hash names the same block: how many beyond the first.
    twins: HashMap<Place, u32, BuildMix>,
    /// Copies of held blocks beyond the first; `None` where storing a block again changes nothing, and a removal is
    /// final.
    copies: Option<Box<Multiset>>,
    left_out: Option<Box<LeftOut>>,
    status: Counters,
}

/// What an export has to know of a worker.
pub(crate) struct Held<'a> {
    pub(crate) worker: Worker,
    pub(crate) last_event_id: Option<u64>,
    pub(crate) blocks: &'a BlockMap,
    /// Beyond the first, where they are counted.
    pub(crate) copies: Option<&'a Multiset>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counters {
    last_event_id: Option<u64>,
    lag: Option<Duration>,
    gaps: u64,
    missing_events: u64,
    repeated_events: u64,
    unknown_removals: u64,
    rejected: [u64; Rejection::ALL.len()],
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

    /// Blocks named by the events so far.
    pub(crate) fn event_blocks(&self) -> u64 {
        self.event_blocks
    }

    pub(crate) fn take_changes(&mut self, into: &mut Vec<u64>) {
        self.runs.take_changes(into);
    }

    /// Workers by slot, if they changed since the last call; a vacant slot has nobody's name.
    pub(crate) fn take_names(&mut self) -> Option<Vec<Worker>> {
        std::mem::take(&mut self.names_changed).then(|| self.workers.iter().map(|w| w.worker).collect())
    }

    /// The slots of incomplete workers, ascending, if they changed since the last call.
    pub(crate) fn take_incomplete(&mut self) -> Option<Vec<Slot>> {
        std::mem::take(&mut self.incomplete_changed).then(|| self.incomplete.clone())
    }

    /// Applies an event whole or, with a reason, not at all; up to a collision, where there is one.
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
                self.workers[slot as usize].status.note(event.id);
                self.change(slot, &event.data)
            }),
        };
        if let Err(rejection) = result {
            self.count(event, rejection);
            self.leave_out(event);
        }
        result
    }

    /// Applies an event of an export: like [`Shard::apply`], but its id continues nothing, a worker that is added
    /// begins with nothing, and what is removed is gone with all of its copies.
    pub(crate) fn import(&mut self, event: &Event) -> Result<(), Rejection> {
        if let Some(&slot) = self.slots.get(&event.worker) {
            let state = &mut self.workers[slot as usize];
            state.status.last_event_id = None;
            match &event.data {
                EventData::WorkerAdded => {
                    state.copies = None;
                    self.clear(slot);
                }
                EventData::Removed { blocks } => state.take_copies(blocks),
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
        let mut holding = Holding::nothing(slot);
        blocks.iter().take(AHEAD).for_each(|block| state.blocks.prefetch(block.sequence));
        let mut done = 0;
        let mut result = Ok(());
        while done < blocks.len() {
            let Some((first, count)) = self.runs.lay(at, position + done as u32, &self.prefixes[done..]) else {
                // The worker says that these blocks are elsewhere now, and has them nowhere as far as we can tell.
                for block in &blocks[done..] {
                    if let Some(old) = state.blocks.remove(block.sequence) {
                        if state.copies.is_some() {
                            state.take_copies(&[block.sequence]);
                        }
                        holding.release(&mut self.runs, state, old);
                    }
                }
                result = Err(Rejection::Collision);
                break;
            };
            let end = first.offset + count as u32;
            // What is new to the worker: usually everything, in one piece.
            let mut new = first.offset..first.offset;
            for (offset, block) in (first.offset..end).zip(&blocks[done..]) {
                if let Some(later) = blocks.get(done + AHEAD) {
                    state.blocks.prefetch(later.sequence);
                }
                done += 1;
                let place = Place { run: first.run, offset };
                let old = state.blocks.insert(block.sequence, place);
                if old == Some(place) {
                    if state.copies.is_some() {
                        state.add_copy(block.sequence);
                    }
                    holding.hold_all(&mut self.runs, state, first.run, new);
                    new = offset + 1..offset + 1;
                    continue;
                }
                new.end += 1;
                if let Some(old) = old {
                    if state.copies.is_some() {
                        state.take_copies(&[block.sequence]);
                    }
                    holding.hold_all(&mut self.runs, state, first.run, new);
                    new = offset + 1..offset + 1;
                    holding.release(&mut self.runs, state, old);
                }
            }
            holding.hold_all(&mut self.runs, state, first.run, new);
            at = Some(Place { run: first.run, offset: end - 1 });
        }
        if self.prefixes.capacity() > KEPT {
            self.prefixes = Vec::new();
        }
        holding.settle(&mut self.runs);
        self.runs.reclaim();
        if result.is_ok() && self.workers[slot as usize].left_out.is_some() {
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
        let blocks = if state.copies.as_ref().is_some_and(|copies| copies.total() > 0) {
            last = state.take_copy(blocks);
            &last
        } else {
            blocks
        };
        let mut holding = Holding::nothing(slot);
        blocks.iter().take(AHEAD).for_each(|&sequence| state.blocks.prefetch(sequence));
        for (done, &sequence) in blocks.iter().enumerate() {
            if let Some(&later) = blocks.get(done + AHEAD) {
                state.blocks.prefetch(later);
            }
            match state.blocks.remove(sequence) {
                Some(place) => holding.release(&mut self.runs, state, place),
                None => state.miss(sequence),
            }
        }
        holding.settle(&mut self.runs);
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

    /// The engine may hold what a rejected store names.
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

    /// A worker of whom blocks were left out stored these, or removed them. Where copies are counted, that tells
    /// nothing of the other copies.
    #[cold]
    fn find_again(&mut self, slot: Slot, sequences: impl Iterator<Item = u64>) {
        let WorkerState { copies, left_out, .. } = &mut self.workers[slot as usize];
        if let (None, Some(left_out)) = (copies, left_out) {
            sequences.for_each(|sequence| left_out.forget(sequence));
        }
        self.mark(slot);
    }

    /// Takes note of whether the worker is incomplete.
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

    /// The slot of a worker that may speak.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "for every event; the other caller is rare")]
    fn admit(&mut self, worker: Worker) -> Result<Slot, Rejection> {
        match self.slots.get(&worker) {
            Some(&slot) => Ok(slot),
            None if self.removed.contains(&worker) => Err(Rejection::WorkerRemoved),
            None => self.know(worker),
        }
    }

    /// The worker's slot; a new worker gets one.
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
            Some(&slot) => &mut self.workers[slot as usize].status.rejected[rejection as usize],
            None => &mut self.strangers[rejection as usize],
        };
        *counter += 1;
        // A misbehaving engine repeats itself: say it at the first, second, fourth, eighth, ... time.
        if counter.is_power_of_two() {
            tracing::warn!(
                worker = %event.worker, event_id = event.id, blocks = event.data.len(), times = *counter,
                "event rejected: {rejection}"
            );
        }
    }

    /// Keeps what only the publisher knows for the worker's status.
    pub(crate) fn note_lag(&mut self, worker: Worker, lag: Duration) {
        if let Some(&slot) = self.slots.get(&worker) {
            self.workers[slot as usize].status.lag = Some(lag);
        }
    }

    /// Blocks held, over all workers.
    pub(crate) fn held(&self) -> u64 {
        self.workers.iter().map(|w| w.blocks.len() as u64).sum()
    }

    /// Rejected events of workers without a state, by kind.
    pub(crate) fn strangers(&self) -> [u64; Rejection::ALL.len()] {
        self.strangers
    }

    /// Heap bytes.
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

    /// The workers and their slots.
    #[cfg(feature = "figures")]
    pub(crate) fn slots(&self) -> impl Iterator<Item = (Worker, Slot)> {
        self.slots.iter().map(|(&worker, &slot)| (worker, slot))
    }

    /// The workers and what they hold, as an export wants it.
    pub(crate) fn workers(&self) -> impl Iterator<Item = Held<'_>> {
        self.slots.values().map(|&slot| {
            let WorkerState { worker, blocks, copies, status, .. } = &self.workers[slot as usize];
            Held { worker: *worker, last_event_id: status.last_event_id, blocks, copies: copies.as_deref() }
        })
    }

    pub(crate) fn worker_status(&self) -> impl Iterator<Item = WorkerStatus> {
        self.slots.iter().map(|(&worker, &slot)| {
            let WorkerState { blocks, copies, left_out, status, .. } = &self.workers[slot as usize];
            WorkerStatus {
                worker,
                held_blocks: blocks.len() as u64,
                extra_copies: copies.as_deref().map(Multiset::total),
                last_event_id: status.last_event_id,
                lag: status.lag,
                gaps: status.gaps,
                missing_events: status.missing_events,
                repeated_events: status.repeated_events,
                unknown_removals: status.unknown_removals,
                left_out_blocks: left_out.as_deref().map_or(0, LeftOut::len),
                rejected: status.rejected,
            }
        })
    }
}

/// What is rare, out of the way of the rest.
impl WorkerState {
    /// Removes a block that is not held, or a copy of it.
    #[cold]
    fn miss(&mut self, sequence: u64) {
        self.status.unknown_removals += 1;
        if let Some(left_out) = &mut self.left_out {
            left_out.take(sequence);
        }
    }

    /// A block was stored where it is.
    #[cold]
    fn add_copy(&mut self, sequence: u64) {
        if let Some(copies) = &mut self.copies {
            copies.add(sequence);
        }
    }

    /// Removes a copy of each. Returns those that had only one.
    #[cold]
    fn take_copy(&mut self, blocks: &[u64]) -> Vec<u64> {
        let mut take = |sequence| self.copies.as_mut().is_some_and(|copies| copies.take(sequence));
        blocks.iter().copied().filter(|&sequence| !take(sequence)).collect()
    }

    /// Leaves one of each.
    #[cold]
    fn take_copies(&mut self, blocks: &[u64]) {
        if let Some(copies) = &mut self.copies {
            for &sequence in blocks {
                copies.take_all(sequence);
            }
        }
    }
}

impl WorkerState {
    /// Heap bytes.
    fn bytes(&self) -> usize {
        self.blocks.bytes()
            + self.twins.allocation_size()
            + self.copies.as_deref().map_or(0, |copies| size_of::<Multiset>() + copies.bytes())
            + self.left_out.as_deref().map_or(0, |left_out| size_of::<LeftOut>() + left_out.bytes())
    }
}

impl Counters {
    fn note(&mut self, id: u64) {
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

/// A worker's cutoff in the run that its event is busy with. An event changes it block by block; the run hears of it
/// once, when the event moves on.
struct Holding {
    slot: Slot,
    run: RunId,
    cutoff: u32,
    /// What the run believes.
    known: u32,
    released: bool,
    anything: bool,
}

impl Holding {
    fn nothing(slot: Slot) -> Self {
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
    fn hold_all(&mut self, runs: &mut Runs, state: &mut WorkerState, run: RunId, offsets: Range<u32>) {
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

    /// One sequence hash less names the block at `place`.
    fn release(&mut self, runs: &mut Runs, state: &mut WorkerState, place: Place) {
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

    fn settle(&mut self, runs: &mut Runs) {
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
