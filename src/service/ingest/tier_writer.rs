//! Changes of a rank's tiers as events of the workers that stand for them.
//!
//! What stands for a tier is cumulative, see [`Tier`]. As long as a rank has one publisher and uses its device only, its
//! changes are its events, and where the publisher counts copies, the index does
//! ([`EventData::CopiesCounted`]). From the first block on a slower tier on, or the second publisher, it is remembered
//! here what lies where and how often, so that a removal from one place can be told from the end of the block.
//!
//! The worker of the device, where it counts copies, is told of each copy in each publisher's place. Those of slower tiers
//! are told of a block when it comes to a place that they reach and when it leaves the last of them.

use std::collections::HashMap;

use super::WorkerRecord;
use super::record::{Namespace, PublisherTier, TierMap};
use crate::event::{Block, Event, EventData, Worker};
use crate::index::{Closed, Index};
use crate::service::Tier;

/// What an event changes.
#[derive(Debug, PartialEq)]
pub(super) enum Change<'a> {
    Stored {
        tier: Tier,
        parent: Option<u64>,
        blocks: Vec<Block>,
    },
    /// Blocks that are known by their hashes lie here, too.
    Placed {
        tier: Tier,
        hashes: &'a [u64],
    },
    Removed {
        tier: Tier,
        hashes: &'a [u64],
    },
    Cleared,
}

fn bit(tier: Tier) -> u8 {
    1 << tier as u8
}

/// The tiers that have a worker, fastest first.
pub(super) fn used(places: Option<&TierMap>) -> impl Iterator<Item = Tier> + use<> {
    let used = places.map_or(0, |places| places.used) | bit(Tier::Device);
    Tier::ALL.into_iter().filter(move |&tier| used & bit(tier) != 0)
}

impl TierMap {
    /// A block comes to a place. Returns whether it was there before.
    fn put(&mut self, hash: u64, place: PublisherTier, count_copies: bool) -> bool {
        let at = self.blocks.entry(hash).or_default();
        let again = *at & place.bit() != 0;
        *at |= place.bit();
        if again && count_copies {
            *self.more.entry((hash, place)).or_default() += 1;
        }
        again
    }

    /// One copy fewer in a place. Returns the places that are left and whether a copy is left in this one; `None` if
    /// there was none.
    fn take(&mut self, hash: u64, place: PublisherTier) -> Option<(u16, bool)> {
        let at = self.blocks.get_mut(&hash).filter(|at| **at & place.bit() != 0)?;
        if let Some(more) = self.more.get_mut(&(hash, place)) {
            *more -= 1;
            if *more == 0 {
                self.more.remove(&(hash, place));
            }
            return Some((*at, true));
        }
        *at &= !place.bit();
        let left = *at;
        if left == 0 {
            self.blocks.remove(&hash);
        }
        Some((left, false))
    }
}

/// One rank of one index, as one of its publishers changes it.
#[derive(Debug)]
pub(super) struct TierWriter<'a> {
    pub(super) index: &'a Index,
    pub(super) worker: Worker,
    pub(super) memory: &'a mut WorkerRecord,
    /// Which of the worker's publishers this is.
    pub(super) seat: u8,
    /// Whether storing a block again is one more copy of it.
    pub(super) count_copies: bool,
    /// Of the events.
    pub(super) id: u64,
}

impl TierWriter<'_> {
    /// Hands the events over that make the change, and returns the blocks of it that were unknown.
    pub(super) fn apply(&mut self, change: Change<'_>) -> Result<Vec<u64>, Closed> {
        match change {
            Change::Cleared => self.clear().map(|()| Vec::new()),
            Change::Stored { tier, parent, blocks } => {
                self.use_tier(tier)?;
                self.store(tier, parent, blocks).map(|()| Vec::new())
            }
            Change::Placed { tier, hashes } => {
                self.use_tier(tier)?;
                Ok(self.place(tier, hashes))
            }
            Change::Removed { tier, hashes } => self.remove(tier, hashes),
        }
    }

    /// Makes the worker known, if it is not.
    pub(super) fn begin(&mut self) -> Result<(), Closed> {
        self.memory.counted = self.count_copies;
        self.send(Tier::Device, EventData::WorkerAdded)?;
        if self.count_copies { self.send(Tier::Device, EventData::CopiesCounted) } else { Ok(()) }
    }

    /// From now on, what lies where is remembered by publisher: another one is going to speak for the worker, too. What
    /// is there is the only publisher's so far, this one's.
    pub(super) fn share(&mut self) -> Result<(), Closed> {
        if self.memory.places.is_none() {
            let content = self.index.export_worker(self.worker)?;
            self.remember(&content);
        }
        Ok(())
    }

    /// Drops everything that this publisher said.
    pub(super) fn clear(&mut self) -> Result<(), Closed> {
        let own = Tier::ALL.map(|tier| PublisherTier::new(tier, self.seat));
        let alone = self.memory.places.as_ref().is_none_or(|places| {
            let all = own.iter().fold(0, |all, place| all | place.bit());
            places.blocks.values().all(|at| at & !all == 0)
        });
        self.memory.left_out.clear();
        if alone {
            for tier in used(self.memory.places.as_ref()) {
                self.send(tier, EventData::Cleared)?;
            }
            self.memory.namespaces.clear();
            if let Some(places) = &mut self.memory.places {
                places.blocks.clear();
                places.more.clear();
            }
            return Ok(());
        }
        for (tier, place) in Tier::ALL.into_iter().zip(own) {
            // One copy of each at a time, until there is none.
            loop {
                let there = self.memory.places.iter().flat_map(|places| &places.blocks);
                let there: Vec<_> = there.filter(|(_, at)| **at & place.bit() != 0).map(|(&hash, _)| hash).collect();
                if there.is_empty() {
                    break;
                }
                self.remove(tier, &there)?;
            }
        }
        Ok(())
    }

    /// Stored on `tier`: new to all workers that reach it and had the block nowhere in reach. To store again what is
    /// there already changes nothing for those that do not count copies.
    ///
    /// On a slower tier, only blocks that are new there are told: an offloading event names neither the salt nor the
    /// pictures of its blocks, and must not move those whose identity is known.
    fn store(&mut self, tier: Tier, parent: Option<u64>, blocks: Vec<Block>) -> Result<(), Closed> {
        let Some(places) = &mut self.memory.places else {
            return self.send(tier, EventData::Stored { parent, blocks });
        };
        let place = PublisherTier::new(tier, self.seat);
        // A worker that counts copies must not be told again by a publisher that has none.
        let again_is_nothing = self.memory.counted && !self.count_copies;
        let is_new = |block: &Block| {
            let at = places.blocks.get(&block.sequence).copied().unwrap_or(0);
            match tier {
                Tier::Device => !again_is_nothing || at & place.bit() == 0,
                _ => at & PublisherTier::down_to(tier) == 0,
            }
        };
        let mut told: Vec<(Option<u64>, Vec<Block>)> = Vec::new();
        let mut before = parent;
        let mut goes_on = false;
        for &block in &blocks {
            let new = is_new(&block);
            match told.last_mut() {
                Some((_, piece)) if new && goes_on => piece.push(block),
                _ if new => told.push((before, vec![block])),
                _ => {}
            }
            (before, goes_on) = (Some(block.sequence), new);
        }
        for block in &blocks {
            places.put(block.sequence, place, self.count_copies);
        }
        for reached in used(self.memory.places.as_ref()).filter(|&other| other >= tier) {
            for (parent, blocks) in &told {
                self.send(reached, EventData::Stored { parent: *parent, blocks: blocks.clone() })?;
            }
        }
        Ok(())
    }

    /// Sets where known blocks lie. A block that lies on no faster tier yet would have to be stored anew for the
    /// worker of this one, and its tokens are not known: it counts as unknown.
    fn place(&mut self, tier: Tier, hashes: &[u64]) -> Vec<u64> {
        let Some(places) = &mut self.memory.places else { return hashes.to_vec() };
        let place = PublisherTier::new(tier, self.seat);
        let mut unknown = Vec::new();
        for &hash in hashes {
            let known = places.blocks.get(&hash).is_some_and(|at| at & PublisherTier::down_to(tier) != 0);
            if known {
                places.put(hash, place, self.count_copies);
            } else {
                unknown.push(hash);
            }
        }
        unknown
    }

    fn remove(&mut self, tier: Tier, hashes: &[u64]) -> Result<Vec<u64>, Closed> {
        let Some(places) = &mut self.memory.places else {
            if tier != Tier::Device {
                return Ok(hashes.to_vec());
            }
            forget_copies(&mut self.memory.namespaces, hashes);
            return self.send(tier, EventData::Removed { blocks: hashes.to_vec() }).map(|()| Vec::new());
        };
        let place = PublisherTier::new(tier, self.seat);
        let mut gone: [Vec<u64>; Tier::ALL.len()] = Default::default();
        let mut unknown = Vec::new();
        for &hash in hashes {
            let Some((left, copies_left)) = places.take(hash, place) else {
                unknown.push(hash);
                continue;
            };
            for reached in Tier::ALL.into_iter().filter(|&other| other >= tier) {
                let last = !copies_left && left & PublisherTier::down_to(reached) == 0;
                if last || (self.memory.counted && reached == Tier::Device) {
                    gone[reached as usize].push(hash);
                }
            }
            if left == 0 {
                self.memory.namespaces.remove(&hash);
            }
        }
        for reached in used(self.memory.places.as_ref()) {
            let blocks = std::mem::take(&mut gone[reached as usize]);
            if !blocks.is_empty() {
                self.send(reached, EventData::Removed { blocks })?;
            }
        }
        Ok(unknown)
    }

    /// Makes sure that a tier has its worker, which begins with what lies on faster ones.
    fn use_tier(&mut self, tier: Tier) -> Result<(), Closed> {
        let faster = used(self.memory.places.as_ref()).take_while(|&other| other <= tier).last();
        let faster = faster.expect("every rank has a device");
        if faster == tier {
            return Ok(());
        }
        let content = self.index.export_worker(faster.worker(self.worker))?;
        self.send(tier, EventData::WorkerAdded)?;
        if self.memory.places.is_none() {
            self.remember(&content);
        }
        if let Some(places) = &mut self.memory.places {
            places.used |= bit(tier);
        }
        for Event { data, .. } in content {
            // A slower tier's worker is told of a block's coming and going, not of its copies.
            if data != EventData::CopiesCounted {
                self.send(tier, data)?;
            }
        }
        Ok(())
    }

    /// Begins to remember what lies where: `content`, an export of the device's worker, all of which this publisher said.
    fn remember(&mut self, content: &[Event]) {
        let place = PublisherTier::new(Tier::Device, self.seat);
        let mut places = TierMap { blocks: HashMap::new(), more: HashMap::new(), used: 0 };
        for event in content {
            match &event.data {
                EventData::Stored { blocks, .. } => {
                    for block in blocks {
                        places.put(block.sequence, place, self.count_copies);
                    }
                }
                // What an export removes fills its holes, and was never there.
                EventData::Removed { blocks } => {
                    for hash in blocks {
                        places.blocks.remove(hash);
                    }
                }
                _ => {}
            }
        }
        self.memory.places = Some(places);
    }

    fn send(&self, tier: Tier, data: EventData) -> Result<(), Closed> {
        let event = Event { worker: tier.worker(self.worker), id: self.id, data };
        self.index.send(event).map_err(|_| Closed)
    }
}

/// One copy of each block is gone.
fn forget_copies(namespaces: &mut HashMap<u64, Namespace>, hashes: &[u64]) {
    if namespaces.is_empty() {
        return;
    }
    for hash in hashes {
        match namespaces.get_mut(hash) {
            Some(namespace) if namespace.more > 0 => namespace.more -= 1,
            _ => drop(namespaces.remove(hash)),
        }
    }
}
