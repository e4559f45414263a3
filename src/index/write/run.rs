//! A run: a chain of stored blocks, kept as one position array, and what each worker holds of it.

use std::collections::BTreeMap;

use super::log::Log;
use crate::index::shared::holders::{Holders, Slot};
use crate::index::shared::positions::PositionArray;

/// Where a block is: a run, and the offset in it. Laid out to be compared as one word.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(8))]
pub(crate) struct Place {
    pub(crate) offset: u32,
    pub(crate) run: RunId,
}

impl Place {
    #[inline]
    fn word(self) -> u64 {
        u64::from(self.run) << 32 | u64::from(self.offset)
    }
}

impl PartialEq for Place {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.word() == other.word()
    }
}

impl Eq for Place {}

impl std::hash::Hash for Place {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write_u64(self.word());
    }
}

pub(crate) type RunId = u32;

/// Offsets held beyond a hole, as ascending ranges that do not touch each other.
pub(crate) type Ranges = Vec<std::ops::Range<u32>>;

/// A run. Several workers hold parts of it: each holds the blocks before its *cutoff*, and perhaps *detached* ranges of
/// blocks beyond a hole, which only the writer knows.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) prefixes: PositionArray,
    /// The position of offset 0.
    pub(crate) start: u32,
    /// Blocks in the array. Those beyond every cutoff are held by nobody, or beyond a hole.
    pub(crate) len: u32,
    /// How many leading blocks are never moved to a child: those behind them came one by one.
    pub(super) whole: u32,
    /// Under which sequence hashes the others were stored.
    pub(super) log: Log,
    /// The block before offset 0; `None` at the root.
    pub(crate) parent: Option<Place>,
    pub(crate) holders: Holders,
    /// The offsets of branch points, ascending, and how many children hang off each.
    pub(crate) branches: Vec<(u32, u32)>,
    /// What each worker holds beyond its cutoff.
    #[allow(clippy::box_collection, reason = "hardly any run has any: one word for all of them, not three")]
    pub(crate) detached: Option<Box<BTreeMap<Slot, Ranges>>>,
    /// Whether this run is on the list of changes.
    pub(super) changed: bool,
}

impl Run {
    /// Whether a child hangs off this offset.
    pub(super) fn branches_at(&self, offset: u32) -> bool {
        self.branches.binary_search_by_key(&offset, |branch| branch.0).is_ok()
    }

    /// How many leading blocks of the array are needed: somebody holds them, or a child hangs off them.
    pub(super) fn needed(&self) -> u32 {
        let branch = self.branches.last().map_or(0, |&(offset, _)| offset + 1);
        self.holders.reach().max(branch).max(self.detached_end())
    }

    /// The end of the last detached range; 0 if there is none.
    pub(super) fn detached_end(&self) -> u32 {
        self.detached.iter().flat_map(|d| d.values()).filter_map(|r| r.last()).map(|r| r.end).max().unwrap_or(0)
    }

    /// Adds `offset` to what the worker with this cutoff holds. Returns its new cutoff.
    pub(crate) fn hold(&mut self, slot: Slot, cutoff: u32, offset: u32) -> u32 {
        debug_assert!(!self.holds(slot, cutoff, offset), "held twice");
        debug_assert!(offset == 0 || self.holds(slot, cutoff, offset - 1), "held behind a hole");
        if offset == cutoff {
            return self.attach(slot, offset + 1);
        }
        // Blocks are stored behind others that the worker holds. So beyond the cutoff, one extends a detached range.
        let ranges = self.detached.as_mut().and_then(|detached| detached.get_mut(&slot)).expect("a range before it");
        let at = ranges.partition_point(|r| r.end < offset);
        ranges[at].end += 1;
        if ranges.get(at + 1).is_some_and(|next| next.start == ranges[at].end) {
            ranges[at].end = ranges.remove(at + 1).end;
        }
        cutoff
    }

    /// Raises the cutoff to `cutoff`, and on over a detached range that begins there: the hole is filled.
    #[inline]
    fn attach(&mut self, slot: Slot, cutoff: u32) -> u32 {
        let Some(detached) = &mut self.detached else { return cutoff };
        let Some(ranges) = detached.get_mut(&slot) else { return cutoff };
        let raised = if ranges[0].start == cutoff { ranges.remove(0).end } else { cutoff };
        self.forget_empty(slot);
        raised
    }

    /// Takes `offset` from what the worker with this cutoff holds. Returns its new cutoff.
    pub(crate) fn release(&mut self, slot: Slot, cutoff: u32, offset: u32) -> u32 {
        debug_assert!(self.holds(slot, cutoff, offset), "not held");
        if offset + 1 == cutoff {
            return offset;
        }
        let ranges = self.detached.get_or_insert_default().entry(slot).or_default();
        if offset < cutoff {
            // A hole: what the worker holds behind it is detached from now on.
            ranges.insert(0, offset + 1..cutoff);
            return offset;
        }
        let at = ranges.partition_point(|r| r.end <= offset);
        let range = ranges[at].clone();
        let rest = [range.start..offset, offset + 1..range.end];
        ranges.splice(at..=at, rest.into_iter().filter(|r| !r.is_empty()));
        self.forget_empty(slot);
        cutoff
    }

    /// Whether the worker with this cutoff holds `offset`.
    pub(crate) fn holds(&self, slot: Slot, cutoff: u32, offset: u32) -> bool {
        offset < cutoff
            || self.detached.iter().filter_map(|d| d.get(&slot)).flatten().any(|range| range.contains(&offset))
    }

    /// Drops what the worker holds beyond its cutoff.
    pub(crate) fn forget(&mut self, slot: Slot) {
        if let Some(detached) = &mut self.detached {
            detached.remove(&slot);
            if detached.is_empty() {
                self.detached = None;
            }
        }
    }

    fn forget_empty(&mut self, slot: Slot) {
        if self.detached.as_ref().and_then(|d| d.get(&slot)).is_some_and(Vec::is_empty) {
            self.forget(slot);
        }
    }

    /// How many bytes it has on the heap, without detached ranges.
    pub(super) fn bytes(&self) -> usize {
        let branches = self.branches.capacity() * size_of::<(u32, u32)>();
        self.prefixes.bytes() + self.holders.bytes() + branches + self.log.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_keeps_no_ranges_once_all_holes_are_filled() {
        let mut run = Run {
            prefixes: PositionArray::of(1),
            start: 0,
            len: 9,
            whole: 9,
            log: Log::default(),
            parent: None,
            holders: Holders::NOBODY,
            branches: Vec::new(),
            detached: None,
            changed: false,
        };
        let cutoff = run.release(7, 9, 3);
        assert_eq!((cutoff, run.detached.is_some()), (3, true));
        assert_eq!((run.hold(7, cutoff, 3), run.detached.is_some()), (9, false));
    }
}
