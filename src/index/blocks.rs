//! What one worker holds: its sequence hashes, and where the index keeps each block.

use hashbrown::HashTable;

use super::run::Place;

/// A map from sequence hash to place.
#[derive(Debug, Default)]
pub(crate) struct BlockMap {
    table: HashTable<(u64, Place)>,
}

impl BlockMap {
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    #[inline]
    pub(crate) fn get(&self, sequence: u64) -> Option<Place> {
        self.table.find(hash(sequence), |entry| entry.0 == sequence).map(|entry| entry.1)
    }

    /// Enters the place of `sequence` and returns the one it had.
    #[inline]
    pub(crate) fn insert(&mut self, sequence: u64, place: Place) -> Option<Place> {
        match self.table.entry(hash(sequence), |entry| entry.0 == sequence, |entry| hash(entry.0)) {
            hashbrown::hash_table::Entry::Occupied(mut entry) => Some(std::mem::replace(&mut entry.get_mut().1, place)),
            hashbrown::hash_table::Entry::Vacant(entry) => {
                entry.insert((sequence, place));
                None
            }
        }
    }

    /// Takes `sequence` out. A map that is nearly empty gives its memory back.
    #[inline]
    pub(crate) fn remove(&mut self, sequence: u64) -> Option<Place> {
        let entry = self.table.find_entry(hash(sequence), |entry| entry.0 == sequence).ok()?;
        let place = entry.remove().0.1;
        if self.table.len() * 8 < self.table.capacity() && self.table.capacity() > 16 {
            self.table.shrink_to(self.table.len() * 2, |entry| hash(entry.0));
        }
        Some(place)
    }

    /// Empties the map, memory included.
    pub(crate) fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, Place)> {
        self.table.iter().copied()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.table.allocation_size()
    }
}

/// Sequence hashes are opaque and may be small numbers: spread them over all 64 bits.
#[inline]
fn hash(sequence: u64) -> u64 {
    let product = u128::from(sequence ^ 0x2d35_8dcc_aa6c_78a5) * 0x8bb8_4b93_962e_acc9;
    (product as u64) ^ (product >> 64) as u64
}
