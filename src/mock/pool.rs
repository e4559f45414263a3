//! The blocks of one engine: a paged allocator with prefix caching.
//!
//! A sequence has a block table, as in `PagedAttention` (Kwon et al., 2023): its logical blocks, in order, each mapped
//! to a *slot*, the memory of one block. A slot is *used* while a table refers to it, *evictable* when none does but
//! its content is still cached, and *free* otherwise. Only full blocks have a name, the sequence hash of their whole
//! prefix, by which other requests find them. A partial last block is shared by forks alone, until one of them writes
//! to it and gets a copy (copy on write).
//!
//! Eviction is by least recent use, and within one use from the end of the sequence, so that a cached block never
//! outlives its parent. Equal blocks that are computed at the same time take a slot each: the first is found by its
//! name, the others are its *twins*, one of which takes its place when it is evicted.

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use foldhash::fast::FixedState;

use super::Copies;
use crate::event::{Block, EventData};

/// Index of a slot.
type SlotId = u32;

/// The block table of a sequence. It must be given back with [`Pool::detach`].
#[must_use]
#[derive(Debug, Default)]
pub(super) struct Sequence {
    table: Vec<SlotId>,
    tokens: u64,
}

impl Sequence {
    /// Tokens whose keys and values are computed.
    pub(super) fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Slots that the table refers to.
    pub(super) fn blocks(&self) -> usize {
        self.table.len()
    }
}

/// Too few slots are free or evictable; nothing has changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shortage;

/// The longest cached prefix of a sequence.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Prefix {
    /// How many blocks it has.
    pub(super) blocks: usize,
    /// How many of them are evictable, until a sequence attaches to them.
    pub(super) evictable: usize,
}

#[derive(Debug)]
pub(super) struct Pool {
    block_size: u64,
    capacity: usize,
    /// The most evictable blocks to keep.
    keep: usize,
    copies: Copies,
    /// Grows up to the capacity, as slots are needed.
    slots: Vec<Slot>,
    free: Vec<SlotId>,
    /// The evictable slots, in the order of eviction.
    evictable: BTreeSet<EvictionKey>,
    /// By name, the slot that others find.
    cached: HashMap<u64, SlotId, FixedState>,
    /// By name, further slots with the same content. Mostly empty.
    twins: HashMap<u64, Vec<SlotId>, FixedState>,
}

#[derive(Debug, Default)]
struct Slot {
    references: u32,
    name: Option<u64>,
    position: u32,
    /// When its last reference was dropped, on the engine's clock.
    last_used: u64,
}

/// Least recently used first; among those of one time, the deepest in its sequence first.
type EvictionKey = (u64, Reverse<u32>, SlotId);

impl Pool {
    /// Creates an empty pool. `cached_tokens` bounds the evictable blocks that are kept.
    pub(super) fn new(block_size: u32, capacity: u32, cached_tokens: Option<u64>, copies: Copies) -> Self {
        let block_size = block_size.into();
        Self {
            block_size,
            capacity: capacity as usize,
            keep: cached_tokens.map_or(usize::MAX, |tokens| (tokens / block_size) as usize),
            copies,
            slots: Vec::new(),
            free: Vec::new(),
            evictable: BTreeSet::new(),
            cached: HashMap::default(),
            twins: HashMap::default(),
        }
    }

    /// All slots.
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Slots that a sequence could take: free ones, and evictable ones.
    pub(super) fn available(&self) -> usize {
        self.free() + self.evictable()
    }

    pub(super) fn free(&self) -> usize {
        self.capacity - self.slots.len() + self.free.len()
    }

    pub(super) fn evictable(&self) -> usize {
        self.evictable.len()
    }

    pub(super) fn used(&self) -> usize {
        self.slots.len() - self.free.len() - self.evictable.len()
    }

    /// Returns how much of a sequence with these names is cached.
    pub(super) fn prefix(&self, names: &[Block]) -> Prefix {
        let mut prefix = Prefix { blocks: 0, evictable: 0 };
        for slot in self.cached_slots(names) {
            prefix.blocks += 1;
            prefix.evictable += usize::from(self.slots[slot as usize].references == 0);
        }
        prefix
    }

    /// Starts a sequence with the longest cached prefix of `names`.
    pub(super) fn attach(&mut self, names: &[Block]) -> Sequence {
        let table: Vec<SlotId> = self.cached_slots(names).collect();
        for &id in &table {
            let slot = &mut self.slots[id as usize];
            if slot.references == 0 {
                self.evictable.remove(&slot.eviction_key(id));
            }
            slot.references += 1;
        }
        let tokens = table.len() as u64 * self.block_size;
        Sequence { table, tokens }
    }

    fn cached_slots(&self, names: &[Block]) -> impl Iterator<Item = SlotId> {
        names.iter().map_while(|block| self.cached.get(&block.sequence).copied())
    }

    /// Appends tokens to a sequence and names the blocks that they fill. `names` must cover at least all blocks that
    /// are full afterwards. Appends the events: what is evicted to make room comes before what is stored.
    ///
    /// # Errors
    /// [`Shortage`]; nothing has changed.
    pub(super) fn extend(
        &mut self,
        sequence: &mut Sequence,
        tokens: u64,
        names: &[Block],
        events: &mut Vec<EventData>,
    ) -> Result<(), Shortage> {
        let full = (sequence.tokens / self.block_size) as usize;
        let tokens = sequence.tokens + tokens;
        let blocks = tokens.div_ceil(self.block_size) as usize;

        // The first block to write to is the partial last one, if there is one. If a fork refers to it, too, this
        // sequence gets a copy.
        let shared = sequence.table.get(full).copied().filter(|&last| self.slots[last as usize].references > 1);
        let needed = blocks - sequence.table.len() + usize::from(shared.is_some());
        if needed > self.available() {
            return Err(Shortage);
        }
        // From here on nothing can fail: all slots that are taken below are free now.
        self.evict(needed.saturating_sub(self.free()), events);
        if let Some(last) = shared {
            self.slots[last as usize].references -= 1;
            sequence.table[full] = self.take();
        }
        for _ in sequence.table.len()..blocks {
            sequence.table.push(self.take());
        }
        sequence.tokens = tokens;
        let filled = (tokens / self.block_size) as usize;
        if filled > full {
            self.cache(&sequence.table[..filled], full, names, events);
        }
        Ok(())
    }

    /// Starts another sequence with the same tokens, which shares all blocks.
    pub(super) fn fork(&mut self, sequence: &Sequence) -> Sequence {
        for &id in &sequence.table {
            self.slots[id as usize].references += 1;
        }
        Sequence { table: sequence.table.clone(), tokens: sequence.tokens }
    }

    /// Ends a sequence. Slots that no other one refers to become evictable if they have a name, and free otherwise.
    pub(super) fn detach(&mut self, sequence: Sequence, now: u64, events: &mut Vec<EventData>) {
        for id in sequence.table.into_iter().rev() {
            let slot = &mut self.slots[id as usize];
            slot.references -= 1;
            if slot.references == 0 {
                if slot.name.is_some() {
                    slot.last_used = now;
                    self.evictable.insert(slot.eviction_key(id));
                } else {
                    self.free.push(id);
                }
            }
        }
        self.evict(self.evictable.len().saturating_sub(self.keep), events);
    }

    /// Drops everything that is cached. No sequence may refer to it.
    pub(super) fn clear(&mut self) {
        debug_assert_eq!(self.used(), 0);
        self.slots.clear();
        self.free.clear();
        self.evictable.clear();
        self.cached.clear();
        self.twins.clear();
    }

    /// Takes a free slot, of which there must be one. It has one reference and no name.
    fn take(&mut self) -> SlotId {
        let id = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            (self.slots.len() - 1) as SlotId
        });
        self.slots[id as usize].references = 1;
        id
    }

    /// Names the slots from `first` on and appends the events for the blocks that are stored now.
    ///
    /// A slot whose name is taken becomes a twin. Where twins are not published, they interrupt the chain: the blocks
    /// after one are a store of their own, with the twin's name as the parent.
    fn cache(&mut self, table: &[SlotId], first: usize, names: &[Block], events: &mut Vec<EventData>) {
        let mut announced = first;
        for (position, (&id, block)) in table.iter().zip(names).enumerate().skip(first) {
            let slot = &mut self.slots[id as usize];
            slot.name = Some(block.sequence);
            slot.position = position as u32;
            let first_of_name = *self.cached.entry(block.sequence).or_insert(id) == id;
            if !first_of_name {
                self.twins.entry(block.sequence).or_default().push(id);
                if self.copies == Copies::Merged {
                    store(&names[..position], announced, events);
                    announced = position + 1;
                }
            }
        }
        store(&names[..table.len()], announced, events);
    }

    /// Evicts this many blocks, which must be evictable, and appends the event.
    fn evict(&mut self, blocks: usize, events: &mut Vec<EventData>) {
        let mut gone = Vec::new();
        for _ in 0..blocks {
            let (.., id) = self.evictable.pop_first().expect("the caller has counted");
            let name = self.slots[id as usize].name.take().expect("evictable slots have names");
            if self.forget(name, id) || self.copies == Copies::Announced {
                gone.push(name);
            }
            self.free.push(id);
        }
        if !gone.is_empty() {
            events.push(EventData::Removed { blocks: gone });
        }
    }

    /// Forgets that a slot has a name. Returns whether it was the last slot with it.
    fn forget(&mut self, name: u64, id: SlotId) -> bool {
        let Some(twins) = self.twins.get_mut(&name) else {
            self.cached.remove(&name);
            return true;
        };
        match twins.iter().position(|&twin| twin == id) {
            Some(at) => _ = twins.remove(at),
            // It is the one that others find: its oldest twin takes its place.
            None => _ = self.cached.insert(name, twins.remove(0)),
        }
        if twins.is_empty() {
            self.twins.remove(&name);
        }
        false
    }
}

impl Slot {
    fn eviction_key(&self, id: SlotId) -> EvictionKey {
        (self.last_used, Reverse(self.position), id)
    }
}

/// Appends a store of the blocks from `first` on, if there are any.
fn store(names: &[Block], first: usize, events: &mut Vec<EventData>) {
    if first < names.len() {
        let parent = first.checked_sub(1).map(|parent| names[parent].sequence);
        events.push(EventData::Stored { parent, blocks: names[first..].to_vec() });
    }
}
