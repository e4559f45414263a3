//! From changes of a worker's tiers to events of the workers in the index that stand for them.
//!
//! In the index, a tier is cumulative, see [`Tier`]. As long as a worker has one publisher and uses its device only,
//! each change is one event, and if the publisher counts copies, the index counts them ([`EventData::CopiesCounted`]).
//! From the first block on a slower tier on, or the second publisher, a [`TierMap`] remembers which block lies where
//! and how many copies there are, so that the removal of one copy can be told from the end of the block.
//!
//! From then on, the index's worker for the device is told of every copy, if it counts copies. The workers for slower
//! tiers are told of a block when it first comes within their reach, and when its last copy within their reach is gone.

use std::collections::HashMap;

use super::change::Change;
use crate::event::{Block, Event, EventData, Worker};
use crate::index::{Closed, Index};
use crate::service::publisher::{Publisher, PublisherTier, TierMap, WorkerRecord};
use crate::service::tier::Tier;

/// Writes the changes that one publisher makes to one worker.
#[derive(Debug)]
pub(super) struct TierWriter<'a> {
    index: &'a Index,
    worker: Worker,
    record: &'a mut WorkerRecord,
    /// Which of the worker's publishers makes the changes.
    seat: u8,
    /// Whether this publisher counts copies: whether storing a block again is one more copy of it.
    count_copies: bool,
    /// The id of the events.
    id: u64,
}

impl<'a> TierWriter<'a> {
    pub(super) fn new(
        index: &'a Index,
        publisher: &Publisher,
        worker: Worker,
        record: &'a mut WorkerRecord,
        id: u64,
    ) -> Self {
        Self { index, worker, record, seat: publisher.seat(), count_copies: publisher.counts_copies(), id }
    }

    /// Makes a change. Returns those of its blocks that are unknown.
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
            Change::Removed { tier, hashes } => self.remove(tier, &hashes),
        }
    }

    /// Adds the worker to the index.
    pub(super) fn begin(&mut self) -> Result<(), Closed> {
        self.record.counted = self.count_copies;
        self.send(Tier::Device, EventData::WorkerAdded)?;
        if self.count_copies { self.send(Tier::Device, EventData::CopiesCounted) } else { Ok(()) }
    }

    /// Begins to remember which publisher stored which block, because another one is about to speak for the worker. So
    /// far all blocks are from this publisher, the only one.
    pub(super) fn share(&mut self) -> Result<(), Closed> {
        if self.record.tier_map.is_none() {
            let content = self.index.export_worker(self.worker)?;
            self.remember(&content);
        }
        Ok(())
    }

    /// Drops everything that this publisher stored.
    pub(super) fn clear(&mut self) -> Result<(), Closed> {
        let own = Tier::ALL.map(|tier| PublisherTier::new(tier, self.seat));
        let bits = own.iter().fold(0, |all, tier| all | tier.bit());
        self.record.omitted.remove(&self.seat);
        // Without blocks of other publishers, clearing whole workers is the same, and much cheaper.
        if self.record.tier_map.as_ref().is_none_or(|map| map.has_nothing_beside(bits)) {
            for tier in TierMap::used(self.record.tier_map.as_ref()) {
                self.send(tier, EventData::Cleared)?;
            }
            self.record.namespaces = HashMap::new();
            if let Some(map) = &mut self.record.tier_map {
                map.clear();
            }
            return Ok(());
        }
        for (tier, own) in Tier::ALL.into_iter().zip(own) {
            // A block is listed once for each of its copies, so that its last copy is removed as well.
            let copies = self.record.tier_map.as_ref().map_or_else(Vec::new, |map| map.copies(own));
            self.remove(tier, &copies)?;
        }
        Ok(())
    }

    /// Stores blocks on `tier`. The index's workers for this tier and slower ones are told of the blocks that were not
    /// in their reach before.
    ///
    /// On slower tiers, only blocks that are new there are passed on. Events of offloading connectors name neither the
    /// salt nor the pictures of their blocks: storing such a block again would replace its identity with a wrong one.
    fn store(&mut self, tier: Tier, parent: Option<u64>, blocks: Vec<Block>) -> Result<(), Closed> {
        let Some(map) = &mut self.record.tier_map else {
            return self.send(tier, EventData::Stored { parent, blocks });
        };
        let own = PublisherTier::new(tier, self.seat);
        // If the worker counts copies and this publisher does not, storing a block again must not add a copy.
        let again_is_nothing = self.record.counted && !self.count_copies;
        let is_new = |block: &Block| match tier {
            Tier::Device => !again_is_nothing || map.at(block.sequence) & own.bit() == 0,
            _ => map.at(block.sequence) & PublisherTier::down_to(tier) == 0,
        };
        // The new blocks, as chains: where a known block lies between new ones, the next chain hangs off the known one.
        let mut chains: Vec<(Option<u64>, Vec<Block>)> = Vec::new();
        let mut before = parent;
        let mut goes_on = false;
        for &block in &blocks {
            let new = is_new(&block);
            match chains.last_mut() {
                Some((_, chain)) if new && goes_on => chain.push(block),
                _ if new => chains.push((before, vec![block])),
                _ => {}
            }
            (before, goes_on) = (Some(block.sequence), new);
        }
        for block in &blocks {
            map.put(block.sequence, own, self.count_copies);
        }
        for reached in TierMap::used(self.record.tier_map.as_ref()).filter(|&other| other >= tier) {
            for (parent, blocks) in &chains {
                self.send(reached, EventData::Stored { parent: *parent, blocks: blocks.clone() })?;
            }
        }
        Ok(())
    }

    /// Notes that known blocks lie on `tier`, too. Returns the unknown ones: a block that is not on this tier or a
    /// faster one would have to be stored for this tier's worker, and its tokens are not known. Neither can the index be
    /// told of one more copy on the device without its tokens.
    fn place(&mut self, tier: Tier, hashes: &[u64]) -> Vec<u64> {
        let Some(map) = &mut self.record.tier_map else { return hashes.to_vec() };
        let own = PublisherTier::new(tier, self.seat);
        let mut unknown = Vec::new();
        for &hash in hashes {
            let at = map.at(hash);
            let is_copy = self.record.counted && tier == Tier::Device && (self.count_copies || at & own.bit() == 0);
            if is_copy || at & PublisherTier::down_to(tier) == 0 {
                unknown.push(hash);
            } else {
                map.put(hash, own, self.count_copies);
            }
        }
        unknown
    }

    /// Removes one copy of each block from `tier`. Returns the blocks that this publisher does not have there.
    fn remove(&mut self, tier: Tier, hashes: &[u64]) -> Result<Vec<u64>, Closed> {
        let Some(map) = &mut self.record.tier_map else {
            // Without a map, everything is on the device.
            if tier != Tier::Device {
                return Ok(hashes.to_vec());
            }
            self.record.remove_namespaces(hashes);
            return self.send(tier, EventData::Removed { blocks: hashes.to_vec() }).map(|()| Vec::new());
        };
        let own = PublisherTier::new(tier, self.seat);
        let mut gone: [Vec<u64>; Tier::ALL.len()] = Default::default();
        let mut unknown = Vec::new();
        for &hash in hashes {
            let Some(left) = map.take(hash, own) else {
                unknown.push(hash);
                continue;
            };
            for reached in Tier::ALL.into_iter().filter(|&other| other >= tier) {
                let last = left & PublisherTier::down_to(reached) == 0;
                if last || (self.record.counted && reached == Tier::Device) {
                    gone[reached as usize].push(hash);
                }
            }
            if left == 0 {
                self.record.namespaces.remove(&hash);
            }
        }
        self.record.shrink_namespaces();
        for reached in TierMap::used(self.record.tier_map.as_ref()) {
            let blocks = std::mem::take(&mut gone[reached as usize]);
            if !blocks.is_empty() {
                self.send(reached, EventData::Removed { blocks })?;
            }
        }
        Ok(unknown)
    }

    /// Adds the index's worker for `tier`, if it is not there yet. It starts with what lies on faster tiers.
    fn use_tier(&mut self, tier: Tier) -> Result<(), Closed> {
        let slowest_used = TierMap::used(self.record.tier_map.as_ref()).take_while(|&other| other <= tier).last();
        let faster = slowest_used.expect("every worker has a device");
        if faster == tier {
            return Ok(());
        }
        let content = self.index.export_worker(faster.worker(self.worker))?;
        self.send(tier, EventData::WorkerAdded)?;
        if self.record.tier_map.is_none() {
            self.remember(&content);
        }
        if let Some(map) = &mut self.record.tier_map {
            map.use_tier(tier);
        }
        for Event { data, .. } in content {
            // Workers for slower tiers do not count copies.
            if data != EventData::CopiesCounted {
                self.send(tier, data)?;
            }
        }
        Ok(())
    }

    /// Begins the tier map with an export of the device's worker. All of it is from this publisher.
    fn remember(&mut self, content: &[Event]) {
        let own = PublisherTier::new(Tier::Device, self.seat);
        let mut map = TierMap::default();
        for event in content {
            match &event.data {
                EventData::Stored { blocks, .. } => {
                    for block in blocks {
                        map.put(block.sequence, own, self.count_copies);
                    }
                }
                // An export first stores the holes in a chain and removes them in the end: they were never there.
                EventData::Removed { blocks } => blocks.iter().for_each(|&hash| map.forget(hash)),
                _ => {}
            }
        }
        self.record.tier_map = Some(map);
    }

    fn send(&self, tier: Tier, data: EventData) -> Result<(), Closed> {
        let event = Event { worker: tier.worker(self.worker), id: self.id, data };
        self.index.send(event).map_err(|_| Closed)
    }
}
