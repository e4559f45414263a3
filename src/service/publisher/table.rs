//! How much memory a hash table takes, and how it gives it back.

use std::collections::HashMap;
use std::hash::Hash;

/// Returns about how many bytes a table takes on the heap. It is filled to seven eighths at most, and has a byte of its
/// own for each place.
pub(super) fn bytes<K, V>(table: &HashMap<K, V>) -> usize {
    table.capacity() * 8 / 7 * (size_of::<(K, V)>() + 1)
}

/// Gives memory back once most of a table is empty.
pub(super) fn shrink<K: Eq + Hash, V>(table: &mut HashMap<K, V>) {
    if table.capacity() > 8 * (table.len() + 8) {
        table.shrink_to(2 * table.len());
    }
}
