//! How much of each prompt occurs more than once in the whole file.

use super::tally::Tally;
use crate::trace::Row;
use crate::trace::prefixes::{Growth, PrefixTree};

/// Rows wait here as long as they have ids that occur in no other row. Memory grows with such ids.
#[derive(Debug, Default)]
pub(super) struct Contexts {
    /// By node, the waiting row that is the only one to have it, if there is one.
    owners: Vec<Option<u32>>,
    waiting: Vec<Waiting>,
    /// Places of `waiting` to reuse.
    free: Vec<u32>,
    context: Tally,
    unique: Tally,
    pub(super) repeated: u64,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    input_length: u32,
    ids: u32,
    /// How many of these ids no other row has.
    alone: u32,
}

impl Contexts {
    /// Counts a row that has been added to the tree.
    pub(super) fn row(&mut self, row: &Row, path: &[u32], growth: Growth, prefixes: &PrefixTree, block_size: u32) {
        growth.follow(&mut self.owners);
        let known = &path[..path.len() - usize::from(growth.leaf)];
        self.meet(known, prefixes, block_size);
        let ids = row.hash_ids.len() as u32;
        let waiting = Waiting { input_length: row.input_length, ids, alone: ids - growth.known as u32 };
        if !growth.leaf {
            self.done(waiting, block_size);
            return;
        }
        let place = self.free.pop().unwrap_or_else(|| {
            self.waiting.push(waiting);
            self.waiting.len() as u32 - 1
        });
        self.waiting[place as usize] = waiting;
        *self.owners.last_mut().expect("the leaf is the last node") = Some(place);
    }

    /// Records that the known ids of a row occur more than once now. A node occurs at least as often as its
    /// descendants, so the nodes that only one row had are the deepest.
    fn meet(&mut self, known: &[u32], prefixes: &PrefixTree, block_size: u32) {
        for &node in known.iter().rev() {
            let Some(owner) = self.owners[node as usize].take() else { return };
            let len = prefixes.len_of(node);
            self.repeated += len as u64;
            let waiting = &mut self.waiting[owner as usize];
            waiting.alone -= len as u32;
            if waiting.alone == 0 {
                let waiting = *waiting;
                self.done(waiting, block_size);
                self.free.push(owner);
            }
        }
    }

    fn done(&mut self, row: Waiting, block_size: u32) {
        let tokens = i64::from(row.ids - row.alone) * i64::from(block_size);
        let context = if row.alone == 0 { row.input_length.into() } else { tokens };
        self.context.add(context as f64);
        self.unique.add((i64::from(row.input_length) - context) as f64);
    }

    /// Returns context lengths and unique prompt lengths, after all rows.
    pub(super) fn finish(mut self, block_size: u32) -> (Tally, Tally) {
        for row in std::mem::take(&mut self.waiting) {
            // Places to reuse have none.
            if row.alone > 0 {
                self.done(row, block_size);
            }
        }
        (self.context, self.unique)
    }
}
