//! A map from ids to small numbers that is fast if the ids are nearly dense.

use hashbrown::HashMap;

/// An array for ids that are not much larger than their number, as in most traces, and a hash map for the others.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// The array in pages, so that it grows without being copied. A page without an id is empty.
    pages: Vec<Vec<u32>>,
    map: HashMap<u64, u32>,
    len: u64,
}

/// Stands for no number in the array.
const NONE: u32 = u32::MAX;
/// Ids in a page.
const PAGE: u64 = 1 << 16;
/// The array may have this many places for each id, plus a constant.
const SPARSE: u64 = 4;
const SMALL: u64 = 1 << 12;

impl Numbers {
    #[inline]
    pub(super) fn get(&self, id: u64) -> Option<u32> {
        match self.pages.get((id / PAGE) as usize).and_then(|page| page.get((id % PAGE) as usize)) {
            Some(&number) if number != NONE => Some(number),
            // The array may since have grown past an id that went into the map.
            _ if self.map.is_empty() => None,
            _ => self.map.get(&id).copied(),
        }
    }

    /// Gives a new id a number, which must be below `u32::MAX`.
    #[inline]
    pub(super) fn insert(&mut self, id: u64, number: u32) {
        self.len += 1;
        if id >= SPARSE * self.len + SMALL {
            self.map.insert(id, number);
            return;
        }
        let page = (id / PAGE) as usize;
        if page >= self.pages.len() {
            self.pages.resize(page + 1, Vec::new());
        }
        if self.pages[page].is_empty() {
            self.pages[page] = vec![NONE; PAGE as usize];
        }
        self.pages[page][(id % PAGE) as usize] = number;
    }

    /// Replaces the number of a known id.
    pub(super) fn replace(&mut self, id: u64, number: u32) {
        match self.pages.get_mut((id / PAGE) as usize).and_then(|page| page.get_mut((id % PAGE) as usize)) {
            Some(old) if *old != NONE => *old = number,
            _ => drop(self.map.insert(id, number)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dense_and_sparse_ids_have_their_numbers() {
        let far = (0..1000).map(|i| i * i * i);
        let near = (1..100_000).filter(|i| (1..=46).all(|root| *i != root * root * root));
        let ids: Vec<u64> = [u64::MAX, 1 << 40].into_iter().chain(far).chain(near).collect();
        let mut numbers = Numbers::default();
        for (number, &id) in (0..).zip(&ids) {
            assert_eq!(numbers.get(id), None, "{id}");
            numbers.insert(id, number);
        }
        assert!(ids.iter().zip(0..).all(|(&id, number)| numbers.get(id) == Some(number)));
        assert!(numbers.map.len() > 900 && numbers.pages.len() > 1, "both are used");
        assert_eq!(numbers.get(u64::MAX - 1), None);

        ids.iter().zip(7..).for_each(|(&id, number)| numbers.replace(id, number));
        assert!(ids.iter().zip(7..).all(|(&id, number)| numbers.get(id) == Some(number)));
    }
}
