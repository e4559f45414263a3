//! What one worker holds: its sequence hashes, and where the index keeps each block.
//!
//! The map is a tag-filtered hash table, like F14 (Bronson and Shi, 2019) and Swiss tables (Kulukundis, 2017): a bucket
//! is one cache line with a byte of each key, and all bytes are compared at once. So a call waits for one line, which can
//! be fetched ahead; a new key is mostly told from all others without a look at them; and hardly a branch depends on what
//! nothing can predict. It differs from them in three ways:
//!
//! - Entries lie in the order in which they came, and buckets refer to them. An event names a chain of blocks, and so
//!   writes, and later removes, neighbours.
//! - The magnitude of a key predicts its bucket, `key * range / 2^64`, so any number of buckets will do, and maps grow by
//!   a third instead of doubling. What does not fit goes into the next bucket that has room.
//! - A bucket counts what it displaced (as F14 does), so removals leave no tombstones.

use super::bucket::{Bucket, MEMBERS};
use super::run::Place;
use crate::index::shared::mix::inverse;
use crate::index::shared::prefetch::prefetch;

/// How full the buckets get before the map grows, in percent. Fuller is denser, and displaces more entries.
const LOAD: usize = 65;

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    /// The scrambled sequence hash. In a vacant entry it is the number of the next vacant one.
    key: u64,
    /// [`NOWHERE`] in a vacant entry.
    place: Place,
}

/// A place that no block has: an offset is less than the number of a run's blocks, which has as many bits.
const NOWHERE: Place = Place { run: 0, offset: u32::MAX };

/// A map from sequence hash to place.
#[derive(Debug, Default)]
pub(crate) struct BlockMap {
    /// The buckets that entries belong into, and behind them some for what the last ones displace.
    buckets: Vec<Bucket>,
    /// How many buckets entries belong into.
    range: usize,
    entries: Vec<Entry>,
    /// The first vacant entry, if there is one.
    vacant: u32,
    len: usize,
}

/// Buckets behind the range. If they do not suffice, more are added.
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

    /// The bucket of `key`, and which of its members it is.
    #[inline]
    fn find(&self, key: u64) -> Option<(usize, usize)> {
        let mut at = self.home(key);
        while let Some(bucket) = self.buckets.get(at) {
            for member in bucket.find(key) {
                if self.entry(bucket.entries[member]).key == key {
                    return Some((at, member));
                }
            }
            if !bucket.displaced_any() {
                break;
            }
            at += 1;
        }
        None
    }

    #[inline]
    pub(crate) fn get(&self, sequence: u64) -> Option<Place> {
        self.find(scramble(sequence)).map(|(at, member)| self.entry(self.buckets[at].entries[member]).place)
    }

    /// Changes the place of `sequence`, which is in the map.
    pub(crate) fn relocate(&mut self, sequence: u64, place: Place) {
        let (at, member) = self.find(scramble(sequence)).expect("it is in the map");
        let entry = self.buckets[at].entries[member];
        self.entry_mut(entry).place = place;
    }

    /// Fetches what the other calls will need for `sequence`.
    #[inline]
    pub(crate) fn prefetch(&self, sequence: u64) {
        if let Some(bucket) = self.buckets.get(self.home(scramble(sequence))) {
            prefetch(bucket);
        }
    }

    /// Enters the place of `sequence` and returns the one it had.
    #[inline]
    pub(crate) fn insert(&mut self, sequence: u64, place: Place) -> Option<Place> {
        let key = scramble(sequence);
        if let Some((at, member)) = self.find(key) {
            let entry = self.buckets[at].entries[member];
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

    /// Takes a vacant entry off the list, or adds one.
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

    /// Enters a key that is not there into the buckets.
    #[inline]
    fn refer(&mut self, key: u64, entry: u32) {
        let mut at = self.home(key);
        loop {
            if let Some(member) = self.buckets[at].vacant() {
                self.buckets[at].set(member, key, entry);
                return;
            }
            at = self.displace(at);
        }
    }

    /// Counts an entry that does not fit into a full bucket. Returns the next bucket.
    #[inline]
    fn displace(&mut self, from: usize) -> usize {
        self.buckets[from].displace();
        if from + 1 == self.buckets.len() {
            self.extend_to(from + 1 + OVERFLOW);
        }
        from + 1
    }

    fn extend_to(&mut self, buckets: usize) {
        self.buckets.reserve_exact(buckets - self.buckets.len());
        self.buckets.resize(buckets, Bucket::default());
    }

    #[inline]
    pub(crate) fn remove(&mut self, sequence: u64) -> Option<Place> {
        let key = scramble(sequence);
        let (at, member) = self.find(key)?;
        self.buckets[at].vacate(member);
        for passed in self.home(key)..at {
            self.buckets[passed].undisplace();
        }
        let entry = self.buckets[at].entries[member];
        let place = self.entry(entry).place;
        *self.entry_mut(entry) = Entry { key: u64::from(self.vacant), place: NOWHERE };
        self.vacant = entry;
        self.len -= 1;
        if self.len * 400 < self.range * MEMBERS * LOAD {
            self.compact();
        }
        Some(place)
    }

    /// Rebuilds the buckets for the same entries, with this many that entries belong into.
    fn resize(&mut self, range: usize) {
        // It never had more entries than now, or it would have grown then. So none of them is vacant.
        debug_assert_eq!(self.len, self.entries.len());
        self.buckets = Vec::new();
        self.range = range;
        self.extend_to(range + OVERFLOW);
        // Room is counted here: a bucket that was just written would have to be waited for.
        let mut taken = vec![0; self.buckets.len()];
        for entry in 0..self.entries.len() as u32 {
            let key = self.entry(entry).key;
            let mut at = self.home(key);
            while usize::from(taken[at]) == MEMBERS {
                at = self.displace(at);
                taken.resize(self.buckets.len(), 0_u8);
            }
            self.buckets[at].set(taken[at].into(), key, entry);
            taken[at] += 1;
        }
    }

    /// Rebuilds everything, with as little memory as it takes.
    fn compact(&mut self) {
        let old = std::mem::take(self);
        if old.len > 0 {
            self.resize((old.len * 200 / (MEMBERS * LOAD)).max(1));
        }
        for Entry { key, place } in old.occupied() {
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
        self.occupied().map(|Entry { key, place }| (unscramble(key), place))
    }

    fn occupied(&self) -> impl Iterator<Item = Entry> {
        self.entries.iter().copied().filter(|entry| entry.place != NOWHERE)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.buckets.capacity() * size_of::<Bucket>() + self.entries.capacity() * size_of::<Entry>()
    }
}

/// The size to grow to: larger by a third to two thirds, drawn by the current key. Otherwise the maps of workers that fill
/// evenly would all grow at the same time, and stall the writer together.
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
