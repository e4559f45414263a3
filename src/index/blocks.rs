//! What one worker holds: its sequence hashes, and where the index keeps each block.
//!
//! Entries lie in the order in which they came: an event names a chain of blocks, and so writes, and later removes,
//! neighbours. They are found through a hash table that is less than half their size, made of groups: one cache line for
//! up to twelve entries, a few bits of each key and where the entry is. A key's magnitude predicts its group,
//! `key * range / 2^64`; what finds that full goes into the next one that is not. The bits are compared all at once,
//! so that hardly a call branches on what nothing can predict, and a new key is mostly told from all others without a
//! look at them. So a call waits for one line, which can be fetched ahead.

use super::group::{Group, MEMBERS};
use super::hasher::inverse;
use super::prefetch::prefetch;
use super::run::Place;

/// How full the groups get before there are more of them, in percent: fuller is denser, and more entries are displaced.
const LOAD: usize = 65;

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    /// The scrambled sequence hash; of a vacant entry, the next vacant one.
    key: u64,
    place: Place,
}

/// A map from sequence hash to place.
#[derive(Debug, Default)]
pub(crate) struct BlockMap {
    /// Groups that entries belong into, and behind them some for what the last ones displace.
    groups: Vec<Group>,
    /// How many groups entries belong into.
    range: usize,
    entries: Vec<Entry>,
    /// The first vacant entry; means nothing while there is none.
    vacant: u32,
    len: usize,
}

/// Groups behind the range. Where they do not suffice there will be more.
const OVERFLOW: usize = 1;

impl BlockMap {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    fn home(&self, key: u64) -> usize {
        ((u128::from(key) * self.range as u128) >> 64) as usize
    }

    #[inline]
    fn entry(&self, entry: u32) -> &Entry {
        &self.entries[entry as usize]
    }

    #[inline]
    fn entry_mut(&mut self, entry: u32) -> &mut Entry {
        &mut self.entries[entry as usize]
    }

    /// The group of `key`, and which of its members it is.
    #[inline]
    fn find(&self, key: u64) -> Option<(usize, usize)> {
        let mut at = self.home(key);
        while let Some(group) = self.groups.get(at) {
            for member in group.find(key) {
                if self.entry(group.entries[member]).key == key {
                    return Some((at, member));
                }
            }
            if !group.displaced_any() {
                break;
            }
            at += 1;
        }
        None
    }

    #[inline]
    pub(crate) fn get(&self, sequence: u64) -> Option<Place> {
        self.find(scramble(sequence)).map(|(at, member)| self.entry(self.groups[at].entries[member]).place)
    }

    /// Fetches what the other calls will need for `sequence`.
    #[inline]
    pub(crate) fn prefetch(&self, sequence: u64) {
        if let Some(group) = self.groups.get(self.home(scramble(sequence))) {
            prefetch(group);
        }
    }

    /// Enters the place of `sequence` and returns the one it had.
    #[inline]
    pub(crate) fn insert(&mut self, sequence: u64, place: Place) -> Option<Place> {
        let key = scramble(sequence);
        if let Some((at, member)) = self.find(key) {
            let entry = self.groups[at].entries[member];
            return Some(std::mem::replace(&mut self.entry_mut(entry).place, place));
        }
        if self.len * 100 >= self.range * MEMBERS * LOAD {
            self.resize(grown(self.range, key));
        }
        let entry = self.vacant();
        *self.entry_mut(entry) = Entry { key, place };
        self.refer(key, entry);
        self.len += 1;
        None
    }

    /// A vacant entry, off the list.
    #[inline]
    fn vacant(&mut self) -> u32 {
        let entry = self.vacant;
        if self.len == self.entries.len() {
            if self.len == self.entries.capacity() {
                self.entries.reserve_exact(self.len / 8 + 4);
            }
            self.entries.push(Entry::default());
            return self.len as u32;
        }
        self.vacant = self.entry(entry).key as u32;
        entry
    }

    /// Enters a key that is not there into the groups.
    #[inline]
    fn refer(&mut self, key: u64, entry: u32) {
        let mut at = self.home(key);
        loop {
            if let Some(member) = self.groups[at].vacant() {
                self.groups[at].set(member, key, entry);
                return;
            }
            at = self.displace(at);
        }
    }

    /// One entry does not fit into a full group. Returns the next one.
    #[inline]
    fn displace(&mut self, from: usize) -> usize {
        self.groups[from].displace();
        if from + 1 == self.groups.len() {
            self.extend_to(from + 1 + OVERFLOW);
        }
        from + 1
    }

    fn extend_to(&mut self, groups: usize) {
        self.groups.reserve_exact(groups - self.groups.len());
        self.groups.resize(groups, Group::default());
    }

    #[inline]
    pub(crate) fn remove(&mut self, sequence: u64) -> Option<Place> {
        let key = scramble(sequence);
        let (at, member) = self.find(key)?;
        self.groups[at].vacate(member);
        for passed in self.home(key)..at {
            self.groups[passed].undisplace();
        }
        let entry = self.groups[at].entries[member];
        let place = self.entry(entry).place;
        self.entry_mut(entry).key = u64::from(self.vacant);
        self.vacant = entry;
        self.len -= 1;
        if self.len * 400 < self.range * MEMBERS * LOAD {
            self.compact();
        }
        Some(place)
    }

    /// Groups anew, so many, for the same entries.
    fn resize(&mut self, range: usize) {
        let old = std::mem::take(&mut self.groups);
        self.range = range;
        self.extend_to(range + OVERFLOW);
        // Neighbours go to neighbours: asking a group for room just after a tag was written would wait for the write.
        let mut taken = vec![0; self.groups.len()];
        for entry in entries(&old) {
            let key = self.entry(entry).key;
            let mut at = self.home(key);
            while usize::from(taken[at]) == MEMBERS {
                at = self.displace(at);
                taken.resize(self.groups.len(), 0_u8);
            }
            self.groups[at].set(taken[at].into(), key, entry);
            taken[at] += 1;
        }
    }

    /// Everything anew, as small as it goes.
    fn compact(&mut self) {
        let old = std::mem::take(self);
        if old.len > 0 {
            self.resize((old.len * 200 / (MEMBERS * LOAD)).max(1));
        }
        for entry in entries(&old.groups) {
            let Entry { key, place } = *old.entry(entry);
            let entry = self.vacant();
            *self.entry_mut(entry) = Entry { key, place };
            self.refer(key, entry);
            self.len += 1;
        }
    }

    /// Empties the map, memory included.
    pub(crate) fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, Place)> {
        entries(&self.groups).map(|entry| {
            let Entry { key, place } = *self.entry(entry);
            (unscramble(key), place)
        })
    }

    pub(crate) fn bytes(&self) -> usize {
        self.groups.capacity() * size_of::<Group>() + self.entries.capacity() * size_of::<Entry>()
    }
}

/// The entries that the groups refer to.
fn entries(groups: &[Group]) -> impl Iterator<Item = u32> {
    groups.iter().flat_map(|group| group.members().map(|member| group.entries[member]))
}

/// The size to grow to: larger by a third to two thirds, as the key at hand has it. The maps of workers that fill evenly
/// would otherwise all grow at the same time, and stall the writer together.
fn grown(range: usize, key: u64) -> usize {
    range + range / 3 + key as usize % (range / 3 + 1) + 1
}

const MULTIPLIER: u64 = 0x9fb2_1c65_1e98_df25;
const INVERSE: u64 = inverse(MULTIPLIER);

/// Spreads any number over all 64 bits, the upper ones above all, and loses none: sequence hashes are opaque and may be
/// small numbers.
#[inline]
fn scramble(sequence: u64) -> u64 {
    (sequence ^ (sequence >> 32)).wrapping_mul(MULTIPLIER)
}

fn unscramble(key: u64) -> u64 {
    let x = key.wrapping_mul(INVERSE);
    x ^ (x >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        /// Whatever the keys, well spread or all in one line, the map is a map.
        #[test]
        fn same_as_a_map(
            operations in prop::collection::vec((any::<bool>(), 0u64..300, 0u32..9), 0..2000),
            spread in 0u8..3,
        ) {
            let mut map = BlockMap::default();
            let mut model = BTreeMap::new();
            for (insert, number, run) in operations {
                // Numbers whose keys are neighbours at the beginning or at the end.
                let sequence = match spread { 0 => number, 1 => unscramble(number), _ => unscramble(u64::MAX - number) };
                let place = Place { run, offset: 1 };
                if insert {
                    prop_assert_eq!(map.insert(sequence, place), model.insert(sequence, place));
                } else {
                    prop_assert_eq!(map.remove(sequence), model.remove(&sequence));
                }
                prop_assert_eq!(map.len(), model.len());
                prop_assert!(model.iter().take(20).all(|(&sequence, &place)| map.get(sequence) == Some(place)));
            }
            prop_assert!(model.iter().all(|(&sequence, &place)| map.get(sequence) == Some(place)));
            prop_assert_eq!(map.iter().collect::<BTreeMap<_, _>>(), model);
        }
    }

    #[test]
    fn memory_follows_the_contents() {
        let mut map = BlockMap::default();
        for sequence in 0..100_000 {
            map.insert(sequence, Place { run: 1, offset: 1 });
        }
        assert!(map.bytes() < 100_000 * 16 * 100 / (LOAD * 2 / 3), "{}", map.bytes());
        for sequence in 0..100_000 {
            assert!(map.remove(sequence).is_some());
            assert!(map.bytes() < map.len() * 16 * 10 + 1024);
        }
        assert_eq!(map.get(1), None);
    }

    #[test]
    fn scrambling_spreads_and_comes_back() {
        let mut homes = vec![0; 1000];
        for number in (0..10_000).chain((0..10_000).map(|i| i << 48)).chain((0..10_000).map(|i| u64::MAX - i)) {
            assert_eq!(unscramble(scramble(number)), number);
            homes[((u128::from(scramble(number)) * 1000) >> 64) as usize] += 1;
        }
        assert!(homes.iter().all(|&n| (5..80).contains(&n)), "30 on average: {homes:?}");
    }
}
