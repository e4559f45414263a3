//! What one worker holds: its sequence hashes, and where the index keeps each block.
//!
//! A hash table of cache lines. A line has room for four entries; an entry belongs into the line that its key's
//! magnitude predicts, `key * range / 2^64`, or, where that is full, into the first one behind it that is not. So
//! nearly every call touches one line, which can be fetched ahead; any size will do, not only powers of two; and
//! growing, which copies nearly in order, streams through memory.

use super::prefetch::prefetch;
use super::prefix::inverse;
use super::run::{Place, RunId};
use super::table::grown;

/// Entries per line.
const ENTRIES: usize = 4;

/// How full the lines get before there are more of them, in percent: fuller is denser, and more entries are displaced.
const LOAD: usize = 72;

const VACANT: Place = Place { run: RunId::MAX, offset: u32::MAX };

/// Entries come first, vacancies last.
#[derive(Clone, Debug)]
#[repr(align(64))]
struct Line {
    keys: [u64; ENTRIES],
    places: [Place; ENTRIES],
}

impl Line {
    const EMPTY: Self = Self { keys: [0; ENTRIES], places: [VACANT; ENTRIES] };

    #[inline]
    fn is_full(&self) -> bool {
        self.places[ENTRIES - 1] != VACANT
    }

    #[inline]
    fn len(&self) -> usize {
        self.places.iter().filter(|&&place| place != VACANT).count()
    }

    #[inline]
    fn position(&self, test: impl Fn(u64) -> bool) -> Option<usize> {
        (0..ENTRIES).find(|&i| self.places[i] != VACANT && test(self.keys[i]))
    }

    /// Takes the entry out and closes the gap.
    #[inline]
    fn take(&mut self, entry: usize) {
        let last = self.len() - 1;
        (self.keys[entry], self.places[entry]) = (self.keys[last], self.places[last]);
        self.places[last] = VACANT;
    }
}

/// A map from sequence hash to place.
#[derive(Debug, Default)]
pub(crate) struct BlockMap {
    /// Lines that entries belong into, and behind them some for what the last ones displace; the very last is never
    /// full, so that every search ends.
    lines: Vec<Line>,
    /// How many lines entries belong into.
    range: usize,
    len: usize,
}

/// Lines behind the range. Where they do not suffice there will be more.
const OVERFLOW: usize = 2;

impl BlockMap {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    fn home(&self, key: u64) -> usize {
        ((u128::from(key) * self.range as u128) >> 64) as usize
    }

    /// The line and entry of `key`, or the line that it would have to go into.
    #[inline]
    fn find(&self, key: u64) -> Result<(usize, usize), usize> {
        let mut at = self.home(key);
        loop {
            let line = &self.lines[at];
            if let Some(entry) = line.position(|k| k == key) {
                return Ok((at, entry));
            }
            if !line.is_full() {
                return Err(at);
            }
            at += 1;
        }
    }

    #[inline]
    pub(crate) fn get(&self, sequence: u64) -> Option<Place> {
        if self.len == 0 {
            return None;
        }
        self.find(scramble(sequence)).ok().map(|(line, entry)| self.lines[line].places[entry])
    }

    /// Fetches what the other calls will need for `sequence`.
    #[inline]
    pub(crate) fn prefetch(&self, sequence: u64) {
        // What a full line displaces is in the next one; there always is one.
        if let Some([line, next]) = self.lines.get(self.home(scramble(sequence))..).and_then(<[Line]>::first_chunk) {
            prefetch(line);
            prefetch(next);
        }
    }

    /// Enters the place of `sequence` and returns the one it had.
    #[inline]
    pub(crate) fn insert(&mut self, sequence: u64, place: Place) -> Option<Place> {
        debug_assert!(place != VACANT, "run ids end before");
        let key = scramble(sequence);
        if self.len * 100 >= self.range * ENTRIES * LOAD {
            self.resize(grown(self.range, key));
        }
        match self.find(key) {
            Ok((line, entry)) => Some(std::mem::replace(&mut self.lines[line].places[entry], place)),
            Err(line) => {
                self.len += 1;
                self.put(line, key, place);
                None
            }
        }
    }

    /// Puts a new entry into this line, which has room.
    #[inline]
    fn put(&mut self, line: usize, key: u64, place: Place) {
        let entry = self.lines[line].len();
        self.lines[line].keys[entry] = key;
        self.lines[line].places[entry] = place;
        if line + 1 == self.lines.len() && self.lines[line].is_full() {
            self.lines.reserve_exact(OVERFLOW);
            self.lines.resize(line + 1 + OVERFLOW, Line::EMPTY);
        }
    }

    #[inline]
    pub(crate) fn remove(&mut self, sequence: u64) -> Option<Place> {
        if self.len == 0 {
            return None;
        }
        let (mut line, mut entry) = self.find(scramble(sequence)).ok()?;
        let place = self.lines[line].places[entry];
        // A search ends at the first line that is not full: what was displaced beyond this one moves back into it.
        let mut next = line;
        while self.lines[next].is_full() {
            next += 1;
            if let Some(from) = self.lines[next].position(|key| self.home(key) <= line) {
                self.lines[line].keys[entry] = self.lines[next].keys[from];
                self.lines[line].places[entry] = self.lines[next].places[from];
                (line, entry) = (next, from);
            }
        }
        self.lines[line].take(entry);
        self.len -= 1;
        if self.len * 400 < self.range * ENTRIES * LOAD {
            self.resize(self.len * 200 / (ENTRIES * LOAD));
        }
        Some(place)
    }

    /// Moves everything into so many lines.
    fn resize(&mut self, range: usize) {
        let old = std::mem::take(self);
        if range == 0 && old.len == 0 {
            return;
        }
        self.range = range.max(1);
        self.len = old.len;
        self.lines = vec![Line::EMPTY; self.range + OVERFLOW];
        for (key, place) in old.entries() {
            let mut line = self.home(key);
            while self.lines[line].is_full() {
                line += 1;
            }
            self.put(line, key, place);
        }
    }

    /// Empties the map, memory included.
    pub(crate) fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    fn entries(&self) -> impl Iterator<Item = (u64, Place)> {
        let entries = self.lines.iter().flat_map(|line| line.keys.into_iter().zip(line.places));
        entries.filter(|&(_, place)| place != VACANT)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, Place)> {
        self.entries().map(|(key, place)| (unscramble(key), place))
    }

    pub(crate) fn bytes(&self) -> usize {
        self.lines.capacity() * size_of::<Line>()
    }
}

const MULTIPLIER: u64 = 0x9fb2_1c65_1e98_df25;
const INVERSE: u64 = inverse(MULTIPLIER);

/// Spreads any number over all 64 bits, the upper ones above all, and loses none: sequence hashes are opaque and may be
/// small numbers.
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
