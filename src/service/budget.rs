//! A bound on the memory of all indexes.
//!
//! Once a second their memory is added up ([`ShardStatus::bytes`](crate::ShardStatus::bytes), which the index keeps count
//! of). Beyond the budget, either new content is refused, or old content is forgotten until a tenth of the budget is
//! free. What one second brings may go beyond it, and so may what is outside the indexes: mailboxes, requests, a worker's
//! blocks while they are saved or forgotten.
//!
//! What is refused or forgotten is missing in answers, and the engine will not say it again: its publisher is degraded
//! from then on, as after a loss.
//!
//! # What is forgotten
//! A block is as recent as the block stored last among those that continue it and itself. Least recent goes first, of
//! equals the deepest. So a shared system prompt stays while anybody stores behind it, sequences lose their ends before
//! their beginnings, and never is there a hole, which would cost memory and free none. Every worker gives up the same
//! part of what it holds, rather than the fleet its oldest blocks: a worker of which all is forgotten would look cold
//! to a router, and get no more requests that suit its cache.
//!
//! The order of a worker's last 16,384 stored blocks is remembered, 128 KiB. All others are older, and equals.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::model::{Model, Models};
use super::rank::Count;
use super::snapshot::strangers;
use super::tier::Tier;
use crate::event::{Block, Event, EventData, Worker};
use crate::index::{Closed, ImportError};

/// Blocks of a worker whose order is remembered.
const RECENT: usize = 1 << 14;

/// Of the budget: what is left once something was forgotten.
const KEPT: f64 = 0.9;

/// What is done when the memory budget is exceeded. Written and parsed as `refuse`, `forget`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OverBudget {
    /// New content is left out until there is room again.
    #[default]
    Refuse,
    /// The least recently stored blocks are left out.
    Forget,
}

impl fmt::Display for OverBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refuse => "refuse",
            Self::Forget => "forget",
        })
    }
}

/// What the budget means for one model.
#[derive(Debug, Default)]
pub(super) struct Room {
    none_left: AtomicBool,
    remembers: AtomicBool,
    /// By worker, the sequence hashes that it stored last, in order.
    recent: Mutex<HashMap<Worker, VecDeque<u64>>>,
}

impl Room {
    /// Whether new content is to be left out.
    pub(super) fn is_exhausted(&self) -> bool {
        self.none_left.load(Relaxed)
    }

    /// Remembers what was stored last, if anybody will want to know.
    pub(super) fn note(&self, worker: Worker, blocks: &[Block]) {
        if self.remembers.load(Relaxed) {
            let mut recent = self.recent();
            let recent = recent.entry(worker).or_default();
            let new = &blocks[blocks.len().saturating_sub(RECENT)..];
            recent.drain(..(recent.len() + new.len()).saturating_sub(RECENT));
            recent.extend(new.iter().map(|block| block.sequence));
        }
    }

    fn recent(&self) -> MutexGuard<'_, HashMap<Worker, VecDeque<u64>>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How much memory there is, and what is done without it.
#[derive(Debug)]
pub(super) struct Budget {
    limit: u64,
    over: OverBudget,
    bytes: AtomicU64,
    /// How often it was exceeded.
    exceeded: AtomicU64,
}

impl Budget {
    pub(super) fn new(limit: u64, over: OverBudget) -> Self {
        Self { limit, over, bytes: AtomicU64::new(0), exceeded: AtomicU64::new(0) }
    }

    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// What is done about the memory that is missing, if it is.
    pub(super) fn measure(&self) -> Option<OverBudget> {
        (self.bytes.load(Relaxed) > self.limit).then_some(self.over)
    }

    /// Adds up, and does what has to be done.
    pub(super) fn check(&self, models: &Models) {
        let models = models.all();
        let bytes = models.iter().map(|model| bytes(model)).sum();
        self.bytes.store(bytes, Relaxed);
        let over = bytes > self.limit;
        if over && self.exceeded.fetch_add(1, Relaxed) == 0 {
            tracing::warn!(bytes, budget = self.limit, over = %self.over, "the memory budget is exceeded");
        }
        for model in models.iter() {
            match self.over {
                OverBudget::Refuse => model.room().none_left.store(over, Relaxed),
                OverBudget::Forget => {
                    model.room().remembers.store(true, Relaxed);
                    // A model that was shut down has nothing to forget.
                    let _ = over.then(|| forget(model, 1.0 - KEPT * self.limit as f64 / bytes as f64));
                }
            }
        }
    }
}

/// Memory of a model's index, and of what is remembered for it.
fn bytes(model: &Model) -> u64 {
    let recent = model.room().recent().values().map(|recent| recent.capacity() * size_of::<u64>()).sum::<usize>();
    let shards = model.index().status().shards;
    shards.iter().map(|shard| shard.bytes).sum::<u64>() + recent as u64
}

/// Forgets this part of what every worker holds, tier by tier.
fn forget(model: &Model, part: f64) -> Result<(), Closed> {
    let ranks = model.ranks().all();
    for rank in ranks.iter() {
        let _at_rest = model.at_rest();
        let mut forgotten = 0;
        for worker in rank.workers().into_iter().flat_map(|worker| Tier::ALL.map(|tier| tier.worker(worker))) {
            forgotten += forget_worker(model, worker, part)?;
        }
        if forgotten > 0 {
            rank.set_degraded(&mut rank.position(), true);
            rank.add(Count::Forgotten, forgotten as u64);
        }
    }
    for worker in strangers(model, &ranks) {
        forget_worker(model, worker, part)?;
    }
    Ok(())
}

/// Returns how many blocks are forgotten.
fn forget_worker(model: &Model, worker: Worker, part: f64) -> Result<usize, Closed> {
    let events = model.index().export_worker(worker)?;
    let Some(id) = events.first().map(|event| event.id) else { return Ok(0) };
    let blocks = {
        let recent = model.room().recent();
        least_recent(&events, recent.get(&Tier::split(worker).0), part)
    };
    let forgotten = blocks.len();
    if forgotten > 0 {
        // Under the number of the last event, so that the next one of the worker leaves no gap.
        let removed = Event { worker, id, data: EventData::Removed { blocks } };
        match model.index().import(vec![removed]) {
            Err(ImportError::Closed) => return Err(Closed),
            Err(ImportError::Rejected(rejection)) => unreachable!("the worker is there: {rejection}"),
            Ok(()) => {}
        }
    }
    Ok(forgotten)
}

/// A block of an export.
#[derive(Clone, Copy, Debug)]
struct Held {
    sequence: u64,
    parent: Option<usize>,
    /// From 1, when it or the newest of those behind it was stored; 0 is before all that is remembered.
    recency: usize,
    depth: u32,
}

/// The sequence hashes of that part of an export that goes first, rounded up; ends of sequences before what they continue.
fn least_recent(export: &[Event], recent: Option<&VecDeque<u64>>, part: f64) -> Vec<u64> {
    let recency: HashMap<u64, usize> = recent.into_iter().flatten().copied().zip(1..).collect();
    let mut places: HashMap<u64, usize> = HashMap::new();
    let mut blocks: Vec<Held> = Vec::new();
    let mut holes = 0;
    for event in export {
        match &event.data {
            EventData::Stored { parent, blocks: stored } => {
                let mut parent = parent.and_then(|parent| places.get(&parent).copied());
                for &Block { sequence, .. } in stored {
                    let depth = parent.map_or(0, |parent| blocks[parent].depth + 1);
                    let recency = recency.get(&sequence).copied().unwrap_or(0);
                    places.insert(sequence, blocks.len());
                    blocks.push(Held { sequence, parent, recency, depth });
                    parent = places.get(&sequence).copied();
                }
            }
            // An export removes what it stored in the place of holes.
            EventData::Removed { blocks } => holes += blocks.len(),
            EventData::Cleared | EventData::WorkerAdded | EventData::WorkerRemoved => {}
        }
    }
    // What is stored behind others comes after them in an export.
    for place in (0..blocks.len()).rev() {
        let Held { parent, recency, .. } = blocks[place];
        if let Some(parent) = parent {
            blocks[parent].recency = blocks[parent].recency.max(recency);
        }
    }
    let held = blocks.len() - holes;
    let count = ((held as f64 * part).ceil() as usize).min(blocks.len());
    blocks.sort_by_key(|block| (block.recency, std::cmp::Reverse(block.depth)));
    blocks[..count].iter().map(|block| block.sequence).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Worker = Worker::new(1, 0);

    fn stored(parent: Option<u64>, names: std::ops::Range<u64>) -> Event {
        let blocks = names.map(|name| Block { sequence: name, local: name }).collect();
        Event { worker: A, id: 1, data: EventData::Stored { parent, blocks } }
    }

    /// A system prompt, 0 to 9, and three conversations under it, the oldest first.
    fn conversations() -> Vec<Event> {
        vec![stored(None, 0..10), stored(Some(9), 100..105), stored(Some(9), 200..205), stored(Some(9), 300..305)]
    }

    #[test]
    fn what_was_stored_least_recently_goes_from_its_end() {
        let order: VecDeque<u64> = (0..10).chain(200..205).chain(300..305).chain(100..105).collect();
        let go = |part| least_recent(&conversations(), Some(&order), part);
        assert_eq!(go(0.0), [0_u64; 0]);
        assert_eq!(go(0.1), [200, 201, 202].map(|name: u64| 404 - name), "the end of the second, tail first");
        assert_eq!(go(0.4), [204, 203, 202, 201, 200, 304, 303, 302, 301, 300]);
        assert_eq!(go(0.6)[10..], [104, 103, 102, 101, 100], "what others continue goes last");
        assert_eq!(go(1.0).len(), 25);
    }

    #[test]
    fn what_is_not_remembered_is_oldest_and_goes_from_the_deepest() {
        let order: VecDeque<u64> = (300..305).collect();
        let mut blocks = conversations();
        blocks.push(stored(Some(104), 105..108));
        assert_eq!(least_recent(&blocks, Some(&order), 0.2), [107, 106, 105, 104, 204, 103], "a fifth of 28, rounded up");
        assert_eq!(least_recent(&blocks, None, 0.04), [107, 106]);
    }

    #[test]
    fn a_room_remembers_the_last_blocks_of_a_worker() {
        let room = Room::default();
        let blocks: Vec<_> = (0..40_000).map(|name| Block { sequence: name, local: name }).collect();
        room.note(A, &blocks[..10]);
        assert!(room.recent().is_empty(), "nobody wants to know");
        room.remembers.store(true, Relaxed);
        room.note(A, &blocks[..10]);
        room.note(A, &blocks[10..20]);
        assert_eq!(room.recent()[&A], (0..20).collect::<Vec<_>>());
        room.note(A, &blocks[20..RECENT + 5]);
        assert_eq!(room.recent()[&A], (5..RECENT as u64 + 5).collect::<Vec<_>>());
        room.note(A, &blocks);
        assert_eq!(room.recent()[&A], (40_000 - RECENT as u64..40_000).collect::<Vec<_>>());
        assert!(room.recent()[&A].capacity() <= 2 * RECENT);
    }
}
