//! The tree that a trace's ids form: every id follows one other, its parent, wherever it occurs.

use std::ops::Range;

use super::error::Reason;
use super::numbers::Numbers;

/// Distinct ids under dense numbers, *slots*, in the order of their first appearance.
///
/// A row's ids are a path from the root. Ids that first appeared in one row have consecutive slots, so a path is a few
/// ranges of slots, and following it is mostly a comparison of arrays.
#[derive(Debug, Default)]
pub(super) struct Prefixes {
    ids: Vec<u64>,
    /// The slot before, or [`ROOT`].
    parents: Vec<u32>,
    slots: Numbers,
}

/// The parent of a first block.
pub(super) const ROOT: u32 = u32::MAX;

/// Consecutive slots of a path.
pub(super) type Slots = Range<u32>;

impl Prefixes {
    /// Finds the path of a row, adds what is new of it, and says how many of the ids were there before: the first
    /// ones, since a known id is only ever found under its known parent.
    ///
    /// # Errors
    /// [`Reason::TwoParents`] and [`Reason::TooManyDistinctIds`]; some of the path may have been added.
    pub(super) fn follow(&mut self, ids: &[u64], path: &mut Vec<Slots>) -> Result<usize, Reason> {
        path.clear();
        let mut known = 0;
        while known < ids.len() {
            let parent = path.last().map_or(ROOT, |range| range.end - 1);
            let Some(start) = self.slots.get(ids[known]) else { break };
            if self.parents[start as usize] != parent {
                return Err(Reason::TwoParents { id: ids[known] });
            }
            let length = self.chain(start, &ids[known..]);
            path.push(start..start + length);
            known += length as usize;
        }
        self.add(&ids[known..], path)?;
        Ok(known)
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(super) fn parent(&self, slot: u32) -> u32 {
        self.parents[slot as usize]
    }

    /// How many of `ids` lie in consecutive slots from `start` on, each the child of the one before.
    fn chain(&self, start: u32, ids: &[u64]) -> u32 {
        let at = start as usize;
        let slots = self.ids[at..].iter().zip(&self.parents[at..]).zip(start..);
        let same =
            slots.zip(ids).skip(1).take_while(|&(((id, parent), slot), given)| id == given && *parent + 1 == slot);
        1 + same.count() as u32
    }

    /// Adds ids that must all be new, as the descendants of the path's end.
    fn add(&mut self, ids: &[u64], path: &mut Vec<Slots>) -> Result<(), Reason> {
        let first = self.ids.len() as u32;
        let mut parent = path.last().map_or(ROOT, |range| range.end - 1);
        for &id in ids {
            if self.slots.get(id).is_some() {
                return Err(Reason::TwoParents { id });
            }
            let slot = self.ids.len() as u32;
            if slot == ROOT {
                return Err(Reason::TooManyDistinctIds);
            }
            self.slots.insert(id, slot);
            self.ids.push(id);
            self.parents.push(parent);
            parent = slot;
        }
        if !ids.is_empty() {
            path.push(first..self.ids.len() as u32);
        }
        Ok(())
    }
}

/// The slots of a path in order.
pub(super) fn slots(path: &[Slots]) -> impl DoubleEndedIterator<Item = u32> + '_ {
    path.iter().cloned().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follow(prefixes: &mut Prefixes, ids: &[u64]) -> (usize, Vec<u32>) {
        let mut path = Vec::new();
        let known = prefixes.follow(ids, &mut path).unwrap();
        (known, slots(&path).collect())
    }

    #[test]
    fn a_path_is_the_slots_of_its_ids() {
        let mut prefixes = Prefixes::default();
        assert_eq!(follow(&mut prefixes, &[70, 71, 72]), (0, vec![0, 1, 2]));
        assert_eq!(follow(&mut prefixes, &[70, 5, 6]), (1, vec![0, 3, 4]));
        assert_eq!(follow(&mut prefixes, &[9]), (0, vec![5]));
        assert_eq!(follow(&mut prefixes, &[70, 71, 4]), (2, vec![0, 1, 6]));
        assert_eq!(follow(&mut prefixes, &[70, 71, 72]), (3, vec![0, 1, 2]));
        assert_eq!(follow(&mut prefixes, &[]), (0, vec![]));
        assert_eq!((prefixes.len(), prefixes.parent(6), prefixes.parent(5)), (7, 1, ROOT));
    }

    #[test]
    fn an_id_has_one_parent() {
        for wrong in [&[71][..], &[70, 72], &[8, 71], &[70, 71, 70], &[8, 8], &[9, 9]] {
            let mut prefixes = Prefixes::default();
            follow(&mut prefixes, &[70, 71, 72]);
            follow(&mut prefixes, &[8]);
            let error = prefixes.follow(wrong, &mut Vec::new()).unwrap_err();
            assert!(matches!(error, Reason::TwoParents { .. }), "{wrong:?}");
        }
    }
}
