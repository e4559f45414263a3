//! What of each prompt occurs more than once in the whole file.

use super::tally::Tally;
use crate::trace::Row;
use crate::trace::prefixes::Slots;

/// Rows wait here while they have ids that occurred in no other row; memory grows with such ids.
#[derive(Debug, Default)]
pub(super) struct Contexts {
    /// By slot: the waiting row that has it alone, or [`SEVERAL`].
    owners: Vec<u32>,
    waiting: Vec<Waiting>,
    /// Places of `waiting` to use again.
    free: Vec<u32>,
    context: Tally,
    unique: Tally,
    pub(super) repeated: u64,
}

const SEVERAL: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Waiting {
    input_length: u32,
    ids: u32,
    /// How many of them no other row has.
    alone: u32,
}

impl Contexts {
    /// A row of the path `path`, of which the first `known` slots occurred before.
    pub(super) fn row(&mut self, row: &Row, path: &[Slots], known: usize, block_size: u32) {
        self.meet(path, known, block_size);
        let ids = row.hash_ids.len() as u32;
        let waiting = Waiting { input_length: row.input_length, ids, alone: ids - known as u32 };
        if waiting.alone == 0 {
            self.done(waiting, block_size);
            return;
        }
        let place = self.free.pop().unwrap_or_else(|| {
            self.waiting.push(waiting);
            self.waiting.len() as u32 - 1
        });
        self.waiting[place as usize] = waiting;
        self.owners.resize(self.owners.len() + waiting.alone as usize, place);
    }

    /// The known ids of a row now occur more than once. An id's descendants occur no oftener than it does, so those
    /// that had one owner are the deepest, and had the same.
    fn meet(&mut self, path: &[Slots], known: usize, block_size: u32) {
        let mut start = path.iter().map(ExactSizeIterator::len).sum();
        for range in path.iter().rev() {
            start -= range.len();
            for slot in range.clone().take(known.saturating_sub(start)).rev() {
                let owner = self.owners[slot as usize];
                if owner == SEVERAL {
                    return;
                }
                self.owners[slot as usize] = SEVERAL;
                self.repeated += 1;
                self.waiting[owner as usize].alone -= 1;
                if self.waiting[owner as usize].alone == 0 {
                    self.done(self.waiting[owner as usize], block_size);
                    self.free.push(owner);
                }
            }
        }
    }

    fn done(&mut self, row: Waiting, block_size: u32) {
        let tokens = i64::from(row.ids - row.alone) * i64::from(block_size);
        let context = if row.alone == 0 { row.input_length.into() } else { tokens };
        self.context.add(context as f64);
        self.unique.add((i64::from(row.input_length) - context) as f64);
    }

    /// Context lengths and unique prompt lengths, once all rows were met.
    pub(super) fn finish(mut self, block_size: u32) -> (Tally, Tally) {
        for row in std::mem::take(&mut self.waiting) {
            // Places to use again have nothing alone.
            if row.alone > 0 {
                self.done(row, block_size);
            }
        }
        (self.context, self.unique)
    }
}
