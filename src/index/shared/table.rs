//! Sorted hash tables: ordered linear probing (Amble and Knuth, "Ordered hash tables", 1974) without wrapping around.
//!
//! A key, spread, predicts its home slot by its magnitude, `spread(key) * range / 2^64`, and of two keys that want the
//! same slot the larger one moves on. So all entries are in the order of their spread keys. A lookup touches one cache
//! line, rarely two, and ends at the first larger key; any size will do, not only powers of two; and growing, which copies
//! in order, streams through memory. A large table is split by the upper bits, so one step of growth moves a part only.
//!
//! Keys are prefix hashes. Each is uniformly distributed, but all together they are a linear image of local hashes: for
//! consecutive numbers, or others with a structure, some seeds leave most of the keys' upper bits equal (600 slots
//! searched on average among 4,096 entries, once in 200 seeds). One integer product carries between the bits and spreads
//! them.

use super::prefetch::prefetch;

/// An entry of a [`SortedTable`], or a vacant slot.
pub(crate) trait Entry: Sized {
    /// How full a table may get, in percent. Fuller is denser, and slower.
    const LOAD: usize;
    /// Whether the table keeps a tag byte for each slot, apart from the slots, which tells most absent keys. Worth it if
    /// slots are large and many lookups miss.
    const TAGGED: bool;

    fn vacant() -> Self;
    /// The key, unless the slot is vacant.
    fn key(&self) -> Option<u64>;
}

/// Slots behind the last home, for what collisions move on. If they do not suffice, more are added.
const OVERFLOW: usize = 8;

/// Entries by key; see the file's head.
#[derive(Clone, Debug)]
pub(crate) struct SortedTable<T> {
    /// Empty until the first entry. After that the last slot is always vacant, so every search ends there at the latest.
    slots: Vec<T>,
    /// If entries are tagged, the tag of each slot; 0 where it is vacant.
    tags: Vec<u8>,
    /// How many slots are homes.
    range: usize,
    /// How many upper bits all keys share when spread.
    shared: u32,
    len: usize,
}

impl<T> Default for SortedTable<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), tags: Vec::new(), range: 0, shared: 0, len: 0 }
    }
}

/// The factor that spreads keys: 2^64 divided by the golden ratio, odd (Fibonacci hashing, Knuth).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// A key's rank in the order of the table.
#[inline]
fn spread(key: u64) -> u64 {
    key.wrapping_mul(SPREAD)
}

impl<T: Entry> SortedTable<T> {
    /// A table for keys that share this many upper bits when spread, fewer than 64.
    fn new(shared: u32) -> Self {
        Self { shared, ..Self::default() }
    }

    #[inline]
    fn home(&self, key: u64) -> usize {
        ((u128::from(spread(key) << self.shared) * self.range as u128) >> 64) as usize
    }

    /// The slot of `key`, or the slot where it would have to be.
    #[inline]
    fn find(&self, key: u64) -> Result<usize, usize> {
        let mut at = self.home(key);
        loop {
            match self.slots[at].key() {
                Some(smaller) if spread(smaller) < spread(key) => at += 1,
                Some(equal) if equal == key => return Ok(at),
                _ => return Err(at),
            }
        }
    }

    /// The tag of a key: never 0, and independent of the home, which depends on all bits.
    #[inline]
    fn tag(key: u64) -> u8 {
        key as u8 | 1
    }

    #[inline]
    pub(crate) fn get(&self, key: u64) -> Option<&T> {
        if self.len == 0 {
            return None;
        }
        if !T::TAGGED {
            return self.find(key).ok().map(|at| &self.slots[at]);
        }
        let home = self.home(key);
        prefetch(&self.slots[home]);
        let near = self.tags[home..].iter().zip(&self.slots[home..]).take_while(|&(&tag, _)| tag != 0);
        near.filter(|&(&tag, _)| tag == Self::tag(key)).map(|(_, slot)| slot).find(|slot| slot.key() == Some(key))
    }

    /// Fetches what a lookup of `key` will need.
    #[inline]
    pub(crate) fn prefetch(&self, key: u64) {
        let home = self.home(key);
        if let Some(slot) = self.slots.get(home) {
            prefetch(slot);
            if T::TAGGED {
                prefetch(&self.tags[home]);
            }
        }
    }

    /// Fetches what entering or removing `key` will need. The slot behind its home tells whether entries have moved on.
    #[inline]
    pub(crate) fn prefetch_to_change(&self, key: u64) {
        self.prefetch(key);
        if let Some(slot) = self.slots.get(self.home(key) + 1) {
            prefetch(slot);
        }
    }

    /// Enters `entry`, which is not vacant, and returns the one that had its key.
    #[inline]
    pub(crate) fn insert(&mut self, entry: T) -> Option<T> {
        let key = entry.key().expect("an entry has a key");
        if self.len * 100 >= self.range * T::LOAD {
            self.resize(grown(self.range, key) + 3);
        }
        match self.find(key) {
            Ok(at) => Some(std::mem::replace(&mut self.slots[at], entry)),
            Err(at) => {
                let gap = at + self.slots[at..].iter().position(|slot| slot.key().is_none()).expect("the last one is");
                if gap + 1 == self.slots.len() {
                    self.overflow();
                }
                self.slots[at..=gap].rotate_right(1);
                self.slots[at] = entry;
                if T::TAGGED {
                    self.tags[at..=gap].rotate_right(1);
                    self.tags[at] = Self::tag(key);
                }
                self.len += 1;
                None
            }
        }
    }

    #[inline]
    pub(crate) fn remove(&mut self, key: u64) -> Option<T> {
        if self.len == 0 {
            return None;
        }
        let at = self.find(key).ok()?;
        // Entries that collisions moved on move back. A tag tells that a slot is vacant without its cache line.
        let moved = |slot: usize| {
            (!T::TAGGED || self.tags[slot] > 0) && self.slots[slot].key().is_some_and(|key| self.home(key) < slot)
        };
        let mut last = at;
        while moved(last + 1) {
            last += 1;
        }
        self.slots[at..=last].rotate_left(1);
        if T::TAGGED {
            self.tags[at..=last].rotate_left(1);
            self.tags[last] = 0;
        }
        self.len -= 1;
        let entry = std::mem::replace(&mut self.slots[last], T::vacant());
        if self.len * 400 < self.range * T::LOAD {
            self.resize(self.len * 200 / T::LOAD);
        }
        Some(entry)
    }

    fn overflow(&mut self) {
        self.slots.reserve_exact(OVERFLOW);
        self.slots.extend((0..OVERFLOW).map(|_| T::vacant()));
        if T::TAGGED {
            self.tags.resize(self.slots.len(), 0);
        }
    }

    /// Moves all entries, in order, into slots for this many homes.
    fn resize(&mut self, range: usize) {
        let mut entries = std::mem::take(&mut self.slots).into_iter().filter(|slot| slot.key().is_some()).peekable();
        self.range = range;
        self.tags = Vec::new();
        if entries.peek().is_none() && range == 0 {
            return;
        }
        self.slots.reserve_exact(range + OVERFLOW);
        for entry in entries {
            let home = self.home(entry.key().expect("an entry has a key"));
            while self.slots.len() < home {
                self.slots.push(T::vacant());
            }
            self.slots.push(entry);
        }
        let end = (range + OVERFLOW).max(self.slots.len() + 1);
        self.slots.extend((self.slots.len()..end).map(|_| T::vacant()));
        if T::TAGGED {
            self.tags.extend(self.slots.iter().map(|slot| slot.key().map_or(0, Self::tag)));
        }
    }

    /// Moves the entries into `1 << bits` tables, by the upper bits of their keys.
    fn split(self, bits: u32) -> Vec<Self> {
        let mut parts: Vec<_> = (0..1 << bits).map(|_| Self::new(bits)).collect();
        for entry in self.slots {
            if let Some(key) = entry.key() {
                parts[(spread(key) >> (64 - bits)) as usize].insert(entry);
            }
        }
        parts
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().filter(|slot| slot.key().is_some())
    }

    /// How many bytes it has on the heap.
    pub(crate) fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<T>() + self.tags.capacity()
    }
}

/// The size to grow to: larger by one to three eighths, drawn by the current key. Otherwise tables that fill evenly would
/// all grow at the same time, and stall the writer together.
#[inline]
fn grown(range: usize, key: u64) -> usize {
    range + range / 8 + key as usize % (range / 4 + 1) + 1
}

/// A table with this many entries is split. With one cache line for each, that is a megabyte.
const LARGE: usize = 1 << 14;
/// The number of parts, as a power of two.
const PARTS: u32 = 8;

/// A sorted table that is split once it is large.
#[derive(Clone, Debug)]
pub(crate) enum SplitTable<T> {
    Whole(SortedTable<T>),
    Parts(Vec<SortedTable<T>>),
}

impl<T: Entry> SplitTable<T> {
    pub(crate) fn new() -> Self {
        Self::Whole(SortedTable::default())
    }

    #[inline]
    fn part(&self, key: u64) -> &SortedTable<T> {
        match self {
            Self::Whole(table) => table,
            Self::Parts(parts) => &parts[(spread(key) >> (64 - PARTS)) as usize],
        }
    }

    #[inline]
    fn part_mut(&mut self, key: u64) -> &mut SortedTable<T> {
        match self {
            Self::Whole(table) => table,
            Self::Parts(parts) => &mut parts[(spread(key) >> (64 - PARTS)) as usize],
        }
    }

    fn parts(&self) -> &[SortedTable<T>] {
        match self {
            Self::Whole(table) => std::slice::from_ref(table),
            Self::Parts(parts) => parts,
        }
    }

    #[inline]
    pub(crate) fn get(&self, key: u64) -> Option<&T> {
        self.part(key).get(key)
    }

    #[inline]
    pub(crate) fn prefetch(&self, key: u64) {
        self.part(key).prefetch(key);
    }

    #[inline]
    pub(crate) fn prefetch_to_change(&self, key: u64) {
        self.part(key).prefetch_to_change(key);
    }

    #[inline]
    pub(crate) fn insert(&mut self, entry: T) -> Option<T> {
        let key = entry.key().expect("an entry has a key");
        let old = self.part_mut(key).insert(entry);
        if let Self::Whole(table) = self
            && table.len() >= LARGE
        {
            *self = Self::Parts(std::mem::take(table).split(PARTS));
        }
        old
    }

    #[inline]
    pub(crate) fn remove(&mut self, key: u64) -> Option<T> {
        self.part_mut(key).remove(key)
    }

    pub(crate) fn len(&self) -> usize {
        self.parts().iter().map(SortedTable::len).sum()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.parts().iter().flat_map(SortedTable::iter)
    }

    /// How many bytes it has on the heap.
    pub(crate) fn bytes(&self) -> usize {
        let parts = match self {
            Self::Whole(_) => 0,
            Self::Parts(parts) => size_of_val(&parts[..]),
        };
        parts + self.parts().iter().map(SortedTable::bytes).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::shared::mix::{inverse, mix};
    use crate::index::shared::prefix::PrefixHasher;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[derive(Clone, Debug, PartialEq)]
    struct Pair<const TAGGED: bool>(Option<(u64, u32)>);

    impl<const TAGGED: bool> Entry for Pair<TAGGED> {
        const LOAD: usize = 80;
        const TAGGED: bool = TAGGED;

        fn vacant() -> Self {
            Self(None)
        }

        fn key(&self) -> Option<u64> {
            self.0.map(|(key, _)| key)
        }
    }

    /// Applies `(insert or remove, key, value)` to a table and a map, and compares.
    fn same_as_a_map<const TAGGED: bool>(operations: &[(bool, u64, u32)]) -> Result<(), TestCaseError> {
        let mut table = SplitTable::<Pair<TAGGED>>::new();
        let mut model = BTreeMap::new();
        for &(insert, key, value) in operations {
            if insert {
                let old = table.insert(Pair(Some((key, value))));
                prop_assert_eq!(old.and_then(|e| e.0).map(|e| e.1), model.insert(key, value));
            } else {
                let old = table.remove(key);
                prop_assert_eq!(old.and_then(|e| e.0).map(|e| e.1), model.remove(&key));
            }
            prop_assert_eq!(table.len(), model.len());
            prop_assert_eq!(table.get(key).and_then(|e| e.0).map(|e| e.1), model.get(&key).copied());
        }
        let mut listed: Vec<_> = table.iter().filter_map(|e| e.0).collect();
        prop_assert!(listed.iter().all(|&(key, value)| table.get(key) == Some(&Pair(Some((key, value))))));
        prop_assert!(listed.is_sorted_by_key(|&(key, _)| spread(key)));
        listed.sort_unstable();
        prop_assert_eq!(listed, model.into_iter().collect::<Vec<_>>());
        Ok(())
    }

    proptest! {
        /// Whatever the keys, well spread or all at one end, the table is a map.
        #[test]
        fn tables_are_maps(
            operations in prop::collection::vec((any::<bool>(), 0u64..300, any::<u32>()), 0..1500),
            end in 0u8..3,
        ) {
            let key = |number: u64| match end {
                0 => mix(number),
                1 => number.wrapping_mul(inverse(SPREAD)),
                _ => (u64::MAX - number).wrapping_mul(inverse(SPREAD)),
            };
            let operations: Vec<_> = operations.into_iter().map(|(i, number, value)| (i, key(number), value)).collect();
            same_as_a_map::<false>(&operations)?;
            same_as_a_map::<true>(&operations)?;
        }
    }

    #[test]
    fn large_tables_split_and_empty_ones_cost_nothing() {
        let mut table = SplitTable::<Pair<true>>::new();
        let keys: Vec<u64> = (0..3 * LARGE as u64).map(mix).collect();
        for &key in &keys {
            table.insert(Pair(Some((key, key as u32))));
        }
        assert!(matches!(table, SplitTable::Parts(_)));
        assert!(table.bytes() < keys.len() * (size_of::<Pair<true>>() + 1) * 3 / 2);
        assert!(keys.iter().all(|&key| table.get(key) == Some(&Pair(Some((key, key as u32))))));
        assert!(keys.iter().all(|&key| table.remove(key).is_some()));
        assert_eq!((table.len(), table.get(1)), (0, None));
        assert!(table.bytes() < 64 * 1024, "{}", table.bytes());
    }

    /// How far from its home each of the keys is, in descending order.
    fn distances(keys: &[u64]) -> Vec<usize> {
        let mut table = SortedTable::<Pair<false>>::default();
        for &key in keys {
            table.insert(Pair(Some((key, 0))));
        }
        let mut steps: Vec<_> =
            keys.iter().map(|&key| table.find(key).expect("just entered") - table.home(key)).collect();
        steps.sort_unstable_by(|a, b| b.cmp(a));
        steps
    }

    /// Prefix hashes of numbers with a structure lie where random ones would: a linear function of theirs would not.
    #[test]
    fn structured_hashes_do_not_cluster() {
        let patterns: [fn(u64) -> Vec<u64>; 6] = [
            |_| (0..4096).collect(),
            |seed| (0..4096).map(|i| mix(seed).wrapping_add(i)).collect(),
            |_| (0..4096).map(|i| i << 52).collect(),
            |seed| (0..4096).map(|i| i * (mix(seed) >> 40)).collect(),
            |_| (0..64).flat_map(|a| (0..=a).map(move |b| 1 << a | 1 << b)).collect(),
            |_| (0..4096).map(|i| (0..12).map(|bit| (i >> bit & 1) << (5 * bit)).sum()).collect(),
        ];
        let mut room = Vec::new();
        for seed in 0..200 {
            let hasher = PrefixHasher::seeded(seed);
            for (number, pattern) in patterns.iter().enumerate() {
                let first = |local| {
                    hasher.chain(0, 0, std::iter::once(local), &mut room);
                    room[0]
                };
                let away = distances(&pattern(seed).into_iter().map(first).collect::<Vec<_>>());
                // Random keys: 26 at worst and 2.4 on average.
                assert!(away[0] < 50, "pattern {number}, seed {seed}: {away:?}");
                assert!(away.iter().sum::<usize>() < 4 * away.len(), "pattern {number}, seed {seed}: {away:?}");
            }
        }
    }
}
