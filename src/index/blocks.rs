//! What one worker holds: its sequence hashes, and where the index keeps each block.

use super::prefix::inverse;
use super::run::{Place, RunId};
use super::table::{Slot, SortedTable};

/// A map from sequence hash to place.
#[derive(Debug, Default)]
pub(crate) struct BlockMap {
    table: SortedTable<Held>,
}

/// A held block. Sequence hashes are opaque and may be small numbers, so they are kept scrambled, as keys.
#[derive(Clone, Copy, Debug)]
struct Held {
    key: u64,
    place: Place,
}

impl Slot for Held {
    // Of 80 percent, two slots of sixteen bytes are looked at on average: one cache line.
    const LOAD: usize = 80;

    fn vacant() -> Self {
        Self { key: 0, place: Place { run: RunId::MAX, offset: 0 } }
    }

    #[inline]
    fn key(&self) -> Option<u64> {
        (self.place.run != RunId::MAX).then_some(self.key)
    }
}

impl BlockMap {
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    #[inline]
    pub(crate) fn get(&self, sequence: u64) -> Option<Place> {
        self.table.get(scramble(sequence)).map(|held| held.place)
    }

    /// Fetches what the other calls will need for `sequence`.
    #[inline]
    pub(crate) fn prefetch(&self, sequence: u64) {
        self.table.prefetch(scramble(sequence));
    }

    /// Enters the place of `sequence` and returns the one it had.
    #[inline]
    pub(crate) fn insert(&mut self, sequence: u64, place: Place) -> Option<Place> {
        self.table.insert(Held { key: scramble(sequence), place }).map(|held| held.place)
    }

    #[inline]
    pub(crate) fn remove(&mut self, sequence: u64) -> Option<Place> {
        self.table.remove(scramble(sequence)).map(|held| held.place)
    }

    /// Empties the map, memory included.
    pub(crate) fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, Place)> {
        self.table.iter().map(|held| (unscramble(held.key), held.place))
    }

    pub(crate) fn bytes(&self) -> usize {
        self.table.bytes()
    }
}

const MULTIPLIER: u64 = 0x9fb2_1c65_1e98_df25;
const INVERSE: u64 = inverse(MULTIPLIER);

/// Spreads any number over all 64 bits, the upper ones above all, and loses none.
#[inline]
fn scramble(sequence: u64) -> u64 {
    let x = (sequence ^ (sequence >> 32)).wrapping_mul(MULTIPLIER);
    (x ^ (x >> 32)).wrapping_mul(MULTIPLIER)
}

fn unscramble(key: u64) -> u64 {
    let x = key.wrapping_mul(INVERSE);
    let x = (x ^ (x >> 32)).wrapping_mul(INVERSE);
    x ^ (x >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scrambling_spreads_and_comes_back() {
        let mut homes = vec![0; 1000];
        for number in (0..10_000).chain((0..10_000).map(|i| i << 48)).chain((0..10_000).map(|i| u64::MAX - i)) {
            assert_eq!(unscramble(scramble(number)), number);
            homes[(u128::from(scramble(number)) * 1000 >> 64) as usize] += 1;
        }
        assert!(homes.iter().all(|&n| (5..80).contains(&n)), "30 on average: {homes:?}");
    }
}
