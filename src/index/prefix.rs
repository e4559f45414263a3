//! The engine's own fingerprint of a prefix of local hashes.
//!
//! `P[i] = P[i-1] + fold(h_i + A(i)) * K(i)  (mod 2^64)`, with `P[-1] = 0`, where `A(i)` is pseudo-random, `K(i)` is
//! pseudo-random and odd, both drawn from the index's seed, and `fold(x) = x ^ (x >> 32)`.
//!
//! - A sum has no serial multiply chain: 32 positions are one loop that the compiler vectorises, and `P` at one
//!   position can be had without the values in between.
//! - The addend keeps zero and equal hashes from vanishing; the multiplier tells positions apart; the fold brings
//!   differences that sit in the high bits only, which a product modulo 2^64 would mostly lose, down to the low ones.
//! - Each step is invertible, so a local hash can be had back from two neighbouring prefix hashes.
//!
//! `K(i)` is the product of a multiplier per lane (`i % 32`) and one per stride (`i / 32`), and `A(i)` depends on the
//! lane only, so that the tables are half a kilobyte whatever the length of a sequence.

use super::lanes::{LANES, Lanes, Sums, fastest, fold};

/// The pseudo-random function family behind the prefix hashes of one index.
#[derive(Clone, Debug)]
pub(crate) struct PrefixHasher {
    seed: u64,
    lanes: Box<Lanes>,
    /// That of position 0.
    first_multiplier: u64,
    sums: Sums,
}

impl PrefixHasher {
    pub(crate) fn new(seed: u64) -> Self {
        let draw = |stream: u64, lane: usize| mix(seed ^ mix(stream.wrapping_add(lane as u64)));
        let lanes = Lanes {
            addends: std::array::from_fn(|lane| draw(1 << 32, lane)),
            multipliers: std::array::from_fn(|lane| draw(2 << 32, lane) | 1),
        };
        let mut hasher = Self { seed: mix(seed), first_multiplier: 0, lanes: Box::new(lanes), sums: fastest() };
        hasher.first_multiplier = hasher.lanes.multipliers[0].wrapping_mul(hasher.stride_multiplier(0));
        hasher
    }

    /// What stride number `stride` multiplies its sum with; odd.
    #[inline]
    fn stride_multiplier(&self, stride: usize) -> u64 {
        mix(self.seed.wrapping_add((stride as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))) | 1
    }

    /// The prefix hash at position 0, which every query needs.
    #[inline]
    fn first(&self, local: u64) -> u64 {
        fold(local.wrapping_add(self.lanes.addends[0])).wrapping_mul(self.first_multiplier)
    }

    /// The prefix hashes of a chain of blocks that begins at `position`, behind the prefix hash `before`.
    pub(crate) fn chain(&self, position: u32, before: u64, locals: impl Iterator<Item = u64>, into: &mut Vec<u64>) {
        into.clear();
        let mut stride = self.stride_multiplier(position as usize / LANES);
        let mut prefix = before;
        into.extend((position as usize..).zip(locals).map(|(position, local)| {
            let lane = position % LANES;
            if lane == 0 {
                stride = self.stride_multiplier(position / LANES);
            }
            let folded = fold(local.wrapping_add(self.lanes.addends[lane]));
            prefix = prefix.wrapping_add(folded.wrapping_mul(self.lanes.multipliers[lane].wrapping_mul(stride)));
            prefix
        }));
    }

    /// Continues `strides`, the prefix hashes at the ends of the whole strides of `locals`, up to stride number `to`.
    fn extend(&self, strides: &mut Vec<u64>, locals: &[u64], to: usize) {
        let from = strides.len();
        strides.resize(to, 0);
        (self.sums.strides)(&self.lanes, &locals.as_chunks().0[from..to], &mut strides[from..]);
        let mut at = if from == 0 { 0 } else { strides[from - 1] };
        for (stride, sum) in (from..to).zip(&mut strides[from..]) {
            at = at.wrapping_add(sum.wrapping_mul(self.stride_multiplier(stride)));
            *sum = at;
        }
    }

    /// The local hash at `position`, from the prefix hashes `before` it and `at` it.
    pub(crate) fn local(&self, position: u32, before: u64, at: u64) -> u64 {
        let lane = position as usize % LANES;
        let multiplier = self.lanes.multipliers[lane].wrapping_mul(self.stride_multiplier(position as usize / LANES));
        fold(at.wrapping_sub(before).wrapping_mul(inverse(multiplier))).wrapping_sub(self.lanes.addends[lane])
    }
}

/// The multiplicative inverse of an odd number modulo 2^64, by Newton's iteration: each step doubles the number of
/// correct low bits, and `3 * odd ^ 2` has five.
pub(crate) const fn inverse(odd: u64) -> u64 {
    debug_assert!(odd & 1 == 1, "only odd numbers have an inverse");
    let mut x = odd.wrapping_mul(3) ^ 2;
    let mut bits = 5;
    while bits < 64 {
        x = x.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(x)));
        bits *= 2;
    }
    x
}

/// The finaliser of `SplitMix64` (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
#[inline]
pub(crate) fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The prefix hashes of one query, computed as far as the search looks and no further.
#[derive(Debug, Default)]
pub(crate) struct QueryPrefixes {
    /// `P` at the last position of each stride so far.
    strides: Vec<u64>,
}

impl QueryPrefixes {
    /// Forgets the last query.
    pub(crate) fn reset(&mut self) {
        self.strides.clear();
    }

    /// `P[position]` of the query `locals`.
    #[inline]
    pub(crate) fn at(&mut self, hasher: &PrefixHasher, locals: &[u64], position: u32) -> u64 {
        if position == 0 {
            return hasher.first(locals[0]);
        }
        let end = position as usize + 1;
        let whole = end / LANES;
        if self.strides.len() < whole {
            hasher.extend(&mut self.strides, locals, whole);
        }
        let at = if whole == 0 { 0 } else { self.strides[whole - 1] };
        let part = (hasher.sums.part)(&hasher.lanes, &locals[whole * LANES..end]);
        at.wrapping_add(part.wrapping_mul(hasher.stride_multiplier(whole)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn prefixes(hasher: &PrefixHasher, locals: &[u64]) -> Vec<u64> {
        let mut prefixes = Vec::new();
        hasher.chain(0, 0, locals.iter().copied(), &mut prefixes);
        prefixes
    }

    #[test]
    fn every_way_to_a_prefix_hash_agrees() {
        let hasher = PrefixHasher::new(7);
        let locals: Vec<u64> = (0..200).map(mix).collect();
        let expected = prefixes(&hasher, &locals);
        for backwards in [false, true] {
            let mut query = QueryPrefixes::default();
            for i in 0..200 {
                let i = if backwards { 199 - i } else { i };
                assert_eq!(query.at(&hasher, &locals, i), expected[i as usize], "position {i}");
            }
        }
    }

    #[test]
    fn local_hashes_come_back() {
        let hasher = PrefixHasher::new(3);
        for locals in [vec![0; 100], (0..100).collect(), vec![u64::MAX; 100], (0..100).map(mix).collect()] {
            let at = prefixes(&hasher, &locals);
            for i in 0..100 {
                let before = if i == 0 { 0 } else { at[i - 1] };
                assert_eq!(hasher.local(i as u32, before, at[i]), locals[i]);
            }
        }
    }

    /// Sequences that simple sums, xors and products confuse: every prefix of every one must be told apart.
    #[test]
    fn patterned_sequences_do_not_collide() {
        let hasher = PrefixHasher::new(1);
        let mut sequences: Vec<Vec<u64>> = Vec::new();
        for base in [0, 1, 2, 3, 1 << 16, 1 << 31, 1 << 32, 1 << 62, 1 << 63, u64::MAX] {
            sequences.push(vec![base; 96]);
            sequences.push((0..96u64).map(|i| base.wrapping_add(i)).collect());
            sequences.push((0..96u64).map(|i| base.wrapping_sub(i)).collect());
        }
        // Two blocks swapped, two top bits flipped: the classic cancellations of a sum of products.
        let plain: Vec<u64> = (0..96).map(mix).collect();
        for i in 0..96 {
            for j in i + 1..96 {
                let mut swapped = plain.clone();
                swapped.swap(i, j);
                sequences.push(swapped);
                let mut flipped = plain.clone();
                flipped[i] ^= 1 << 63;
                flipped[j] ^= 1 << 63;
                sequences.push(flipped);
            }
        }
        let mut contents = HashSet::new();
        let mut seen = HashSet::new();
        for sequence in &sequences {
            for (end, hash) in (1..).zip(prefixes(&hasher, sequence)) {
                assert_eq!(contents.insert(&sequence[..end]), seen.insert(hash), "{:?}", &sequence[..end]);
            }
        }
        assert!(contents.len() > 250_000, "{}", contents.len());
    }

    #[test]
    fn inverses() {
        for odd in (0..1000).map(|i| mix(i) | 1).chain([1, 3, u64::MAX]) {
            assert_eq!(odd.wrapping_mul(inverse(odd)), 1);
        }
    }
}
