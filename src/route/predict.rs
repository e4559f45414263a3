//! Predictions: what workers will hold before they publish it, or if they never do, from the router's own decisions.

mod recency;

use std::collections::VecDeque;

use super::fleet::Fleet;
use super::overlap::{SlotMap, scatter};
use crate::event::{Block, Event, EventData, Worker};
use crate::index::mix;
use crate::index::{Index, Matches, Reader, Writer};
use recency::Recency;

/// For how long a worker is expected to hold the blocks of a prompt that it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prediction {
    /// Nanoseconds for which a block is predicted after the last decision that predicted it.
    pub ttl_ns: u64,
    /// Nanoseconds after a request's first token within which the worker publishes the blocks of its prompt; the
    /// prediction ends then. `None`: the worker never publishes.
    pub grace_ns: Option<u64>,
    /// The most predicted blocks of a worker. Beyond that, the deepest blocks of the least recently predicted prompt
    /// are dropped.
    pub blocks_per_worker: u32,
}

impl Prediction {
    /// For workers that publish events: bridges the time from a decision to the event that reports its blocks, for at
    /// most ten seconds, one second after the first token, and 65,536 blocks of each worker.
    pub const fn until_events() -> Self {
        Self { ttl_ns: 10_000_000_000, grace_ns: Some(1_000_000_000), blocks_per_worker: 1 << 16 }
    }

    /// For workers that publish nothing: estimates what a cache of this many blocks holds, without a limit in time.
    pub const fn instead_of_events(blocks_per_worker: u32) -> Self {
        Self { ttl_ns: u64::MAX, grace_ns: None, blocks_per_worker }
    }
}

/// Stands for the parent of a prompt's first block.
const ROOT: u64 = 0x70_72_6f_6d_70_74;

/// What a request in flight predicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Predicted {
    /// Sequence hash of its deepest block.
    end: u64,
    /// Number of the decision.
    by: u64,
}

/// An index of predicted blocks, which is fed by decisions instead of events.
#[derive(Debug)]
pub(super) struct Predictions {
    settings: Prediction,
    writer: Writer,
    reader: Reader,
    /// Whether there are changes to publish.
    changed: bool,
    matches: Matches,
    map: Vec<SlotMap>,
    /// Predicted depths for the current decision, by seat.
    depths: Vec<u32>,
    /// By seat, the blocks in the index, in the order in which they are dropped.
    caches: Vec<Recency>,
    /// For each decision, when the blocks that it used expire unless a later one used them, the seat, and the number of
    /// the decision. In order of time.
    expiries: VecDeque<(u64, u32, u64)>,
    /// Predictions of computed prompts: when they end, the seat, and what was predicted. In order of time.
    due: VecDeque<(u64, u32, Predicted)>,
    names: Vec<u64>,
    /// Decisions so far.
    decisions: u64,
}

impl Predictions {
    pub(super) fn new(settings: Prediction, seed: u64) -> Self {
        // The recency lists bound what is in it.
        let builder = Index::builder().seed(seed).max_positions(u32::MAX).max_workers(u32::MAX);
        let (writer, reader) = builder.build_local().expect("no setting is out of its range");
        Self {
            settings,
            writer,
            reader,
            changed: false,
            matches: Matches::new(),
            map: Vec::new(),
            depths: Vec::new(),
            caches: Vec::new(),
            expiries: VecDeque::new(),
            due: VecDeque::new(),
            names: Vec::new(),
            decisions: 0,
        }
    }

    /// Looks up how many leading blocks of the prompt are predicted, by seat.
    pub(super) fn look_up(&mut self, fleet: &Fleet, blocks: &[u64]) {
        if std::mem::take(&mut self.changed) {
            self.writer.publish();
        }
        self.reader.find(blocks, &mut self.matches);
        self.depths.clear();
        self.depths.resize(fleet.seats() + 1, 0);
        scatter(&mut self.map, fleet, &self.matches, &mut self.depths);
    }

    /// Returns what [`Predictions::look_up`] found.
    pub(super) fn depths(&self) -> &[u32] {
        &self.depths
    }

    /// Predicts the blocks of a prompt that is sent to the worker in this seat.
    pub(super) fn enter(&mut self, seat: usize, worker: Worker, blocks: &[u64], now_ns: u64) -> Option<Predicted> {
        let Self { settings, names, .. } = self;
        let blocks = &blocks[..blocks.len().min(settings.blocks_per_worker as usize)];
        names.clear();
        names.extend(blocks.iter().scan(ROOT, |name, &local| {
            *name = mix(name.wrapping_add(mix(local)));
            Some(*name)
        }));
        let end = *names.last()?;
        if seat >= self.caches.len() {
            self.caches.resize_with(seat + 1, Recency::default);
        }
        let cache = &mut self.caches[seat];
        let known = cache.known(names);
        if known < names.len() {
            let parent = known.checked_sub(1).map(|last| names[last]);
            let new = names.iter().zip(blocks).skip(known);
            let blocks = new.map(|(&sequence, &local)| Block { sequence, local }).collect();
            // The index rejects two blocks of one sequence hash, which has a probability of 2^-64; nothing is predicted
            // then.
            self.writer.apply(&Event { worker, id: 0, data: EventData::Stored { parent, blocks } }).ok()?;
        }
        self.decisions += 1;
        cache.touch(names, known, self.decisions);
        let mut gone = Vec::new();
        while cache.len() > settings.blocks_per_worker as usize {
            gone.push(cache.pop());
        }
        self.changed = true;
        if settings.ttl_ns < u64::MAX {
            self.expiries.push_back((now_ns.saturating_add(settings.ttl_ns), seat as u32, self.decisions));
        }
        self.remove(worker, gone);
        Some(Predicted { end, by: self.decisions })
    }

    /// Records that the request which predicted this has its first token.
    pub(super) fn confirm(&mut self, seat: usize, predicted: Predicted, now_ns: u64) {
        if let Some(grace_ns) = self.settings.grace_ns {
            self.due.push_back((now_ns.saturating_add(grace_ns), seat as u32, predicted));
        }
    }

    /// Ends the predictions that are due by now.
    pub(super) fn expire(&mut self, fleet: &Fleet, now_ns: u64) {
        while let Some(&(_, seat, predicted)) = self.due.front().filter(|(due, ..)| *due <= now_ns) {
            self.due.pop_front();
            let mut gone = Vec::new();
            self.caches[seat as usize].forget(predicted.end, predicted.by, &mut gone);
            self.remove(fleet.workers()[seat as usize], gone);
        }
        while let Some(&(_, seat, by)) = self.expiries.front().filter(|(expires, ..)| *expires <= now_ns) {
            self.expiries.pop_front();
            let cache = &mut self.caches[seat as usize];
            let mut gone = Vec::new();
            while cache.oldest().is_some_and(|used| used <= by) {
                gone.push(cache.pop());
            }
            self.remove(fleet.workers()[seat as usize], gone);
        }
    }

    /// Ends all predictions for the worker.
    pub(super) fn clear(&mut self, seat: usize, worker: Worker) {
        self.tell(seat, worker, EventData::Cleared);
    }

    pub(super) fn join(&mut self, seat: usize, worker: Worker) {
        self.tell(seat, worker, EventData::WorkerAdded);
    }

    pub(super) fn leave(&mut self, seat: usize, worker: Worker) {
        self.tell(seat, worker, EventData::WorkerRemoved);
    }

    /// Predicted blocks of all workers.
    pub(super) fn blocks(&self) -> usize {
        self.caches.iter().map(Recency::len).sum()
    }

    fn tell(&mut self, seat: usize, worker: Worker, data: EventData) {
        if let Some(cache) = self.caches.get_mut(seat) {
            *cache = Recency::default();
        }
        // This fails for a worker that the index does not know, about which there is nothing to forget.
        self.changed |= self.writer.apply(&Event { worker, id: 0, data }).is_ok();
    }

    fn remove(&mut self, worker: Worker, blocks: Vec<u64>) {
        if !blocks.is_empty() {
            let removed = self.writer.apply(&Event { worker, id: 0, data: EventData::Removed { blocks } });
            debug_assert!(removed.is_ok(), "what is in a cache is in the index");
            self.changed = true;
        }
    }
}
