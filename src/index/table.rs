//! A hash table keyed by prefix hash that grows in small steps.
//!
//! Rehashing one large table would stall the writer, and with it every reader's view, for as long as it takes to
//! move everything. Many small tables grow one at a time.

use hashbrown::HashTable;

const TABLES: usize = 64;

/// An entry that carries its own key.
pub(crate) trait Keyed {
    /// A prefix hash: pseudo-random, so it serves as its own hash.
    fn key(&self) -> u64;
}

/// Entries by prefix hash.
#[derive(Clone, Debug)]
pub(crate) struct PrefixTable<T> {
    tables: Box<[HashTable<T>]>,
    len: usize,
}

impl<T: Keyed> PrefixTable<T> {
    pub(crate) fn new() -> Self {
        Self { tables: (0..TABLES).map(|_| HashTable::new()).collect(), len: 0 }
    }

    /// `hashbrown` takes the bucket from the lowest bits and the tag from the highest: choose by those between.
    #[inline]
    fn table(key: u64) -> usize {
        (key >> 40) as usize % TABLES
    }

    #[inline]
    pub(crate) fn get(&self, key: u64) -> Option<&T> {
        self.tables[Self::table(key)].find(key, |entry| entry.key() == key)
    }

    /// Enters `entry` in place of the one with its key, if any.
    pub(crate) fn put(&mut self, entry: T) {
        let key = entry.key();
        let table = &mut self.tables[Self::table(key)];
        match table.find_mut(key, |old| old.key() == key) {
            Some(old) => *old = entry,
            None => {
                table.insert_unique(key, entry, Keyed::key);
                self.len += 1;
            }
        }
    }

    /// Takes the entry with this key out, if there is one. A table that is nearly empty gives its memory back.
    pub(crate) fn remove(&mut self, key: u64) {
        let table = &mut self.tables[Self::table(key)];
        if let Ok(entry) = table.find_entry(key, |entry| entry.key() == key) {
            entry.remove();
            self.len -= 1;
            if table.capacity() > 8 && table.len() * 8 < table.capacity() {
                table.shrink_to(table.len() * 2, Keyed::key);
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.tables.iter().flat_map(HashTable::iter)
    }

    /// Heap bytes.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&self.tables[..]) + self.tables.iter().map(HashTable::allocation_size).sum::<usize>()
    }
}
