//! Sets of seats, as bit masks.

/// A set of seats. [`Router::mask`](super::Router::mask) makes the one that restricts a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mask {
    words: Vec<u64>,
    /// The version of the fleet that the seats belong to.
    pub(super) version: u64,
}

impl Mask {
    /// Returns whether the seat is in the set.
    pub fn contains(&self, seat: usize) -> bool {
        self.words.get(seat / 64).is_some_and(|word| word >> (seat % 64) & 1 == 1)
    }

    /// Number of seats in the set.
    pub fn len(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Returns whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|&word| word == 0)
    }

    /// Returns the seats, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        self.words.iter().enumerate().flat_map(|(index, &word)| {
            let rest = move |bits: &u64| Some(bits & (bits - 1)).filter(|&bits| bits != 0);
            let bits = std::iter::successors(Some(word).filter(|&bits| bits != 0), rest);
            bits.map(move |bits| index * 64 + bits.trailing_zeros() as usize)
        })
    }

    /// Returns the seat that has `n` others before it.
    pub fn nth(&self, mut n: usize) -> Option<usize> {
        for (index, &word) in self.words.iter().enumerate() {
            let here = word.count_ones() as usize;
            if n < here {
                let mut bits = word;
                for _ in 0..n {
                    bits &= bits - 1;
                }
                return Some(index * 64 + bits.trailing_zeros() as usize);
            }
            n -= here;
        }
        None
    }

    /// Returns the first seat from `from` on, or else the first of all.
    pub fn next_from(&self, from: usize) -> Option<usize> {
        let first = |words: &[u64], skipped: usize, keep: u64| {
            let kept =
                words.iter().enumerate().map(|(index, &word)| (index, if index == 0 { word & keep } else { word }));
            let mut filled = kept.filter(|&(_, word)| word != 0);
            filled.next().map(|(index, word)| (skipped + index) * 64 + word.trailing_zeros() as usize)
        };
        let word = (from / 64).min(self.words.len());
        first(&self.words[word..], word, u64::MAX << (from % 64)).or_else(|| first(&self.words, 0, u64::MAX))
    }

    pub(super) fn of_version(version: u64) -> Self {
        Self { words: Vec::new(), version }
    }

    pub(super) fn set(&mut self, seat: usize, member: bool) {
        if seat / 64 >= self.words.len() {
            self.words.resize(seat / 64 + 1, 0);
        }
        let bit = 1 << (seat % 64);
        if member { self.words[seat / 64] |= bit } else { self.words[seat / 64] &= !bit }
    }

    /// Sets it to the seats of `of` that are not in `without`, and are in `among` if that is given.
    pub(super) fn assign(&mut self, of: &Self, without: &Self, among: Option<&Self>) {
        self.words.clear();
        let word = |mask: &Self, index: usize| mask.words.get(index).copied().unwrap_or(0);
        let words = of.words.iter().enumerate();
        self.words.extend(
            words.map(|(index, &bits)| {
                bits & !word(without, index) & among.map_or(u64::MAX, |among| word(among, index))
            }),
        );
    }

    /// Overwrites the scores of all seats that are not in the set.
    pub(super) fn overwrite_others(&self, scores: &mut [f32], with: f32) {
        for (chunk, &word) in scores.chunks_mut(64).zip(&self.words) {
            if word != u64::MAX >> (64 - chunk.len()) {
                for (bit, score) in chunk.iter_mut().enumerate() {
                    if word >> bit & 1 == 0 {
                        *score = with;
                    }
                }
            }
        }
    }
}
