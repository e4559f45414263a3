//! Who holds how much of a run: workers grouped by cutoff.
//!
//! A worker's *cutoff* is the number of leading blocks of the run that it holds without a hole. A set of workers is a
//! sparse bitmap in one flat, sorted list. So a set costs what its members need, whether it has one or ten thousand, and
//! two sets are intersected in one pass.

use std::sync::Arc;

use super::prefetch::prefetch;

/// A worker's dense number inside its shard.
pub(crate) type Slot = u32;

/// Up to 64 workers with neighbouring slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// The first slot, divided by 64.
    pub(crate) index: u32,
    pub(crate) bits: u64,
}

impl Chunk {
    pub(crate) const NONE: Self = Self { index: 0, bits: 0 };

    pub(crate) fn of(slot: Slot) -> Self {
        Self { index: slot / 64, bits: 1 << (slot % 64) }
    }
}

/// Up to 64 workers that have the same cutoff.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CutoffGroup {
    pub(crate) cutoff: u32,
    pub(crate) chunk: Chunk,
}

/// The holders of one run.
#[derive(Clone, Debug)]
pub(crate) enum Holders {
    /// One worker, or nobody if the cutoff is 0. Most runs are private conversations.
    One { slot: Slot, cutoff: u32 },
    /// In descending order of cutoffs, within a cutoff in ascending order of chunks, and without empty chunks. Shared with
    /// the snapshots.
    Many(Arc<[CutoffGroup]>),
}

impl Holders {
    pub(crate) const NOBODY: Self = Self::One { slot: 0, cutoff: 0 };

    /// The groups, deepest first. `one` has room for the case of a single worker.
    #[inline]
    pub(crate) fn groups<'a>(&'a self, one: &'a mut [CutoffGroup; 1]) -> &'a [CutoffGroup] {
        match self {
            Self::One { cutoff: 0, .. } => &[],
            Self::One { slot, cutoff } => {
                *one = [CutoffGroup { cutoff: *cutoff, chunk: Chunk::of(*slot) }];
                one
            }
            Self::Many(groups) => groups,
        }
    }

    /// Fetches what [`Holders::groups`] will need.
    #[inline]
    pub(crate) fn prefetch(&self) {
        if let Self::Many(groups) = self {
            prefetch(&groups[0]);
        }
    }

    /// The deepest cutoff; 0 if nobody holds anything.
    #[inline]
    pub(crate) fn reach(&self) -> u32 {
        match self {
            Self::One { cutoff, .. } => *cutoff,
            Self::Many(groups) => groups[0].cutoff,
        }
    }

    /// The cutoff of one worker; 0 if it is not a holder.
    pub(crate) fn cutoff(&self, of: Slot) -> u32 {
        match self {
            Self::One { slot, cutoff } => {
                if *slot == of {
                    *cutoff
                } else {
                    0
                }
            }
            Self::Many(groups) => {
                let Chunk { index, bits } = Chunk::of(of);
                groups.iter().find(|g| g.chunk.index == index && g.chunk.bits & bits != 0).map_or(0, |g| g.cutoff)
            }
        }
    }

    /// Sets the cutoff of one worker; 0 removes it.
    pub(crate) fn set(&mut self, of: Slot, cutoff: u32) {
        match self {
            Self::One { slot, cutoff: held } if *slot == of || *held == 0 => (*slot, *held) = (of, cutoff),
            Self::One { .. } if cutoff == 0 => {}
            _ => {
                let mut groups = self.groups(&mut EMPTY.clone()).to_vec();
                take(&mut groups, of);
                if cutoff > 0 {
                    put(&mut groups, of, cutoff);
                }
                *self = match groups[..] {
                    [CutoffGroup { cutoff, chunk }] if chunk.bits.is_power_of_two() => {
                        Self::One { slot: chunk.index * 64 + chunk.bits.trailing_zeros(), cutoff }
                    }
                    _ => Self::Many(groups.into()),
                };
            }
        }
    }

    /// How many bytes it has on the heap.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::One { .. } => 0,
            Self::Many(groups) => 16 + size_of_val(&groups[..]),
        }
    }
}

/// Room for [`Holders::groups`].
pub(crate) const EMPTY: [CutoffGroup; 1] = [CutoffGroup { cutoff: 0, chunk: Chunk::NONE }];

fn take(groups: &mut Vec<CutoffGroup>, slot: Slot) {
    let Chunk { index, bits } = Chunk::of(slot);
    if let Some(at) = groups.iter().position(|g| g.chunk.index == index && g.chunk.bits & bits != 0) {
        groups[at].chunk.bits &= !bits;
        if groups[at].chunk.bits == 0 {
            groups.remove(at);
        }
    }
}

fn put(groups: &mut Vec<CutoffGroup>, slot: Slot, cutoff: u32) {
    let chunk = Chunk::of(slot);
    match groups.binary_search_by(|g| cutoff.cmp(&g.cutoff).then(g.chunk.index.cmp(&chunk.index))) {
        Ok(at) => groups[at].chunk.bits |= chunk.bits,
        Err(at) => groups.insert(at, CutoffGroup { cutoff, chunk }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn slots(chunk: Chunk) -> impl Iterator<Item = Slot> {
        (0..64).filter(move |bit| chunk.bits >> bit & 1 == 1).map(move |bit| chunk.index * 64 + bit)
    }

    proptest! {
        /// Any order of changes gives the cutoffs of a plain map, in canonical form.
        #[test]
        fn same_as_a_map(changes in prop::collection::vec((0u32..200, 0u32..4), 1..80)) {
            let mut holders = Holders::NOBODY;
            let mut model = BTreeMap::new();
            for (slot, cutoff) in changes {
                holders.set(slot, cutoff);
                if cutoff == 0 { model.remove(&slot); } else { model.insert(slot, cutoff); }
                let mut room = EMPTY;
                let groups = holders.groups(&mut room).to_vec();
                let listed: BTreeMap<_, _> =
                    groups.iter().flat_map(|g| slots(g.chunk).map(|s| (s, g.cutoff))).collect();
                prop_assert_eq!(&listed, &model);
                prop_assert!(groups.is_sorted_by_key(|g| (std::cmp::Reverse(g.cutoff), g.chunk.index)));
                prop_assert!(groups.iter().all(|g| g.chunk.bits != 0));
                prop_assert_eq!(holders.reach(), model.values().copied().max().unwrap_or(0));
                for slot in 0..200 {
                    prop_assert_eq!(holders.cutoff(slot), model.get(&slot).copied().unwrap_or(0));
                }
                prop_assert_eq!(matches!(holders, Holders::One { .. }), model.len() <= 1);
            }
        }
    }
}
