//! Changes of a rank's tiers as events of the workers that stand for them.
//!
//! What stands for a tier is cumulative, see [`Tier`]. As long as a rank uses its device only, its changes are its events.
//! From the first block on a slower tier on, it is remembered what lies where, so that a removal from one tier can be
//! told from the end of the block.

use std::collections::HashMap;

use super::Memory;
use super::memory::Tiers;
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

/// A bit for each tier on which a block may lie for the worker of `tier` to hold it.
fn reach(tier: Tier) -> u8 {
    (1 << (tier as u8 + 1)) - 1
}

fn bit(tier: Tier) -> u8 {
    1 << tier as u8
}

/// The tiers that have a worker, fastest first.
pub(super) fn used(tiers: Option<&Tiers>) -> impl Iterator<Item = Tier> + use<> {
    let used = tiers.map_or(0, |tiers| tiers.used) | bit(Tier::Device);
    Tier::ALL.into_iter().filter(move |&tier| used & bit(tier) != 0)
}

/// The blocks that are left after these events.
fn on_device(events: &[Event]) -> HashMap<u64, u8> {
    let mut blocks = HashMap::new();
    for event in events {
        match &event.data {
            EventData::Stored { blocks: stored, .. } => {
                blocks.extend(stored.iter().map(|block| (block.sequence, bit(Tier::Device))));
            }
            EventData::Removed { blocks: removed } => {
                for hash in removed {
                    blocks.remove(hash);
                }
            }
            _ => {}
        }
    }
    blocks
}

/// One rank of one index.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    pub(super) index: &'a Index,
    pub(super) worker: Worker,
    pub(super) memory: &'a mut Memory,
    /// Of the events.
    pub(super) id: u64,
}

impl Writer<'_> {
    /// Hands the events over that make the change, and returns how many blocks of it were unknown.
    pub(super) fn apply(&mut self, change: Change<'_>) -> Result<usize, Closed> {
        match change {
            Change::Cleared => self.clear().map(|()| 0),
            Change::Stored { tier, parent, blocks } => {
                self.use_tier(tier)?;
                self.store(tier, parent, blocks).map(|()| 0)
            }
            Change::Placed { tier, hashes } => {
                self.use_tier(tier)?;
                Ok(self.place(tier, hashes))
            }
            Change::Removed { tier, hashes } => self.remove(tier, hashes),
        }
    }

    /// Drops everything.
    pub(super) fn clear(&mut self) -> Result<(), Closed> {
        for tier in used(self.memory.tiers.as_ref()) {
            self.send(tier, EventData::Cleared)?;
        }
        self.memory.namespaces.clear();
        if let Some(tiers) = &mut self.memory.tiers {
            tiers.blocks.clear();
        }
        Ok(())
    }

    /// Stored on `tier`: new to all workers that reach it and had the block on no tier in reach. To store again what
    /// is there already changes nothing, so all of them are told all of it.
    fn store(&mut self, tier: Tier, parent: Option<u64>, blocks: Vec<Block>) -> Result<(), Closed> {
        let Some(tiers) = &mut self.memory.tiers else {
            return self.send(tier, EventData::Stored { parent, blocks });
        };
        for block in &blocks {
            *tiers.blocks.entry(block.sequence).or_default() |= bit(tier);
        }
        for reached in used(self.memory.tiers.as_ref()).filter(|&other| other >= tier) {
            self.send(reached, EventData::Stored { parent, blocks: blocks.clone() })?;
        }
        Ok(())
    }

    /// Sets where known blocks lie. A block that lies on no faster tier yet would have to be stored anew for the
    /// worker of this one, and its tokens are not known: it counts as unknown.
    fn place(&mut self, tier: Tier, hashes: &[u64]) -> usize {
        let Some(tiers) = &mut self.memory.tiers else { return hashes.len() };
        let mut unknown = 0;
        for hash in hashes {
            match tiers.blocks.get_mut(hash) {
                Some(at) if *at & reach(tier) != 0 => *at |= bit(tier),
                _ => unknown += 1,
            }
        }
        unknown
    }

    fn remove(&mut self, tier: Tier, hashes: &[u64]) -> Result<usize, Closed> {
        let Some(tiers) = &mut self.memory.tiers else {
            if tier != Tier::Device {
                return Ok(hashes.len());
            }
            self.forget_namespaces(hashes);
            return self.send(tier, EventData::Removed { blocks: hashes.to_vec() }).map(|()| 0);
        };
        let mut gone: [Vec<u64>; Tier::ALL.len()] = Default::default();
        let mut unknown = 0;
        for &hash in hashes {
            let Some(at) = tiers.blocks.get_mut(&hash).filter(|at| **at & bit(tier) != 0) else {
                unknown += 1;
                continue;
            };
            *at &= !bit(tier);
            for reached in Tier::ALL.into_iter().filter(|&other| other >= tier && *at & reach(other) == 0) {
                gone[reached as usize].push(hash);
            }
            if *at == 0 {
                tiers.blocks.remove(&hash);
            }
        }
        self.forget_namespaces(&gone[Tier::Disk as usize]);
        for reached in used(self.memory.tiers.as_ref()) {
            let blocks = std::mem::take(&mut gone[reached as usize]);
            if !blocks.is_empty() {
                self.send(reached, EventData::Removed { blocks })?;
            }
        }
        Ok(unknown)
    }

    fn forget_namespaces(&mut self, hashes: &[u64]) {
        if !self.memory.namespaces.is_empty() {
            for hash in hashes {
                self.memory.namespaces.remove(hash);
            }
        }
    }

    /// Makes sure that a tier has its worker, which begins with what lies on faster ones.
    fn use_tier(&mut self, tier: Tier) -> Result<(), Closed> {
        let faster = used(self.memory.tiers.as_ref()).take_while(|&other| other <= tier).last();
        let faster = faster.expect("every rank has a device");
        if faster == tier {
            return Ok(());
        }
        let content = self.index.export_worker(faster.worker(self.worker))?;
        self.send(tier, EventData::WorkerAdded)?;
        if self.memory.tiers.is_none() {
            self.memory.tiers = Some(Tiers { blocks: on_device(&content), used: 0 });
        }
        if let Some(tiers) = &mut self.memory.tiers {
            tiers.used |= bit(tier);
        }
        for Event { data, .. } in content {
            self.send(tier, data)?;
        }
        Ok(())
    }

    fn send(&self, tier: Tier, data: EventData) -> Result<(), Closed> {
        let event = Event { worker: tier.worker(self.worker), id: self.id, data };
        self.index.send(event).map_err(|_| Closed)
    }
}
