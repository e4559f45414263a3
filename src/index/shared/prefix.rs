//! The engine's own fingerprint of a prefix of local hashes.
//!
//! `P[i] = P[i-1] + (h_i + A(lane)) * L(lane) * S(stride)`, with `P[-1] = 0`, in the field of 2^64 elements
//! (`field.rs`), where a sum is an exclusive or; position `i` is lane `i % 32` of stride `i / 32`. This is multilinear
//! hashing (Carter and Wegman, "Universal classes of hash functions", 1979) with carry-less products (Lemire and Kaser,
//! "Faster 64-bit universal hashing using carry-less multiplications", 2016), whose factors are themselves products of a
//! few keys.
//!
//! - A sum has no serial chain of products: 32 positions are one loop over vectors, and `P` at a position can be computed
//!   without the values in between.
//! - The addend makes a block of hash 0 count. The factors tell positions apart.
//! - Each step is invertible, so a local hash can be had back from two neighbouring prefix hashes.
//!
//! `S(stride)` is the product of one factor for each of the four digits of the stride's number, to the base of 256:
//! `S0[d0] * S1[d1] * S2[d2] * S3[d3]`, where `S1[0]`, `S2[0]` and `S3[0]` are 1. So the tables are eleven kilobytes
//! whatever the length of a sequence, and below position 8,192 a factor is read and not computed.
//!
//! # What is proved
//! Let all `A` be uniform in the field, all `L` and `S` (but those that are 1) uniform among its elements other than 0,
//! and all of them independent of each other and of the sequences. *Two different sequences of at most 2^21 blocks, of
//! equal length or not, have equal prefix hashes with a probability of at most `4 / (2^64 - 1)`, less than 2^-61*; up
//! to 2^13 blocks it is `3 / (2^64 - 1)`, up to 2^32 blocks `6 / (2^64 - 1)`.
//!
//! Proof. Write `M_i` for `L(lane) * S(stride)` of position `i`, as a monomial in the keys. No two positions have the
//! same one, for it names the lane, the lowest digit of the stride, and every other digit that is not 0. Let `h`
//! have `n` blocks and `g` have `m <= n`. Their prefix hashes are equal where this polynomial in the keys is 0:
//!
//! ```text
//! sum over i < m of (h_i + g_i) * M_i   +   sum over m <= i < n of (h_i * M_i + A(lane of i) * M_i)
//! ```
//!
//! It is not the zero polynomial: if `m < n`, the monomial `A * M_m` is in it with the coefficient 1, and nothing
//! cancels it; if `m = n`, some `h_i + g_i` is not 0, and `M_i` has that coefficient. Its degree is at most 2, for `A`
//! and `L`, and 1 for every digit, of which positions below 2^13 have one, below 2^21 two, and any have four. A
//! polynomial of degree `d` other than 0, whose variables are drawn independently and uniformly, each from at least `s`
//! elements of a field, is 0 with a probability of at most `d / s` (Schwartz, "Fast probabilistic algorithms for
//! verification of polynomial identities", 1980; Zippel, "Probabilistic algorithms for sparse polynomials", 1979). Here
//! `s = 2^64 - 1`: a factor is never 0. QED
//!
//! **Over an index's life.** A lookup is wrong only if a prefix of the query has the hash of another prefix that is
//! stored. Let `Q` be the number of different prefixes that all lookups together look for (a lookup looks for about ten
//! prefixes of its query), and let `N` be the number of different prefixes that are ever stored. Then the probability
//! that any answer is ever wrong is at most `4 Q N / (2^64 - 1)`: 0.2% for a billion prefixes looked for and ten million
//! stored. A store checks whether its blocks collide with stored ones (`run.rs`). The probability that two stored
//! prefixes ever do is at most `2 N^2 / (2^64 - 1)`, and then blocks are left out and counted.
//!
//! **What it rests on.** The keys are expanded by `ChaCha20` from 256 bits of the system's randomness, so the statement
//! holds as long as nobody can tell `ChaCha20` from randomness. Sequences must not depend on the keys. They may depend
//! on answers: until the first wrong answer, answers do not depend on the keys either. Somebody who measures times or
//! reads the memory may learn something about the keys. With a seed that the caller gives, nothing is claimed.

use super::lanes::{Keys, LANES, Ways, fastest};
use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng, SeedableRng};
use std::sync::Arc;

/// The function, drawn from its family, behind the prefix hashes of one index. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct PrefixHasher {
    keys: Arc<Keys>,
    ways: Ways,
}

impl PrefixHasher {
    /// The function whose keys are expanded from this secret.
    pub(crate) fn new(secret: [u8; 32]) -> Self {
        let (mut random, ways) = (ChaCha20Rng::from_seed(secret), fastest());
        Self { keys: Arc::new(Keys::draw(|| random.next_u64(), &ways)), ways }
    }

    /// The function of this seed. It is the same in every run, and known to everybody who knows the seed.
    pub(crate) fn seeded(seed: u64) -> Self {
        let mut secret = [0; 32];
        secret[..8].copy_from_slice(&seed.to_le_bytes());
        Self::new(secret)
    }

    /// A hash that collides all the time, for tests: two prefixes have equal hashes if the exclusive or of their local
    /// hashes is equal.
    #[cfg(test)]
    pub(crate) fn weak() -> Self {
        let ways = fastest();
        Self { keys: Arc::new(Keys::draw(|| 1, &ways)), ways }
    }

    /// How many bytes it has on the heap.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.keys)
    }

    /// The prefix hash at position 0, which every query needs.
    #[inline]
    fn first(&self, local: u64) -> u64 {
        (self.ways.first)(&self.keys, local)
    }

    /// The prefix hashes of a chain of blocks that begins at `position`, behind the prefix hash `before`.
    pub(crate) fn chain(&self, position: u32, before: u64, locals: impl Iterator<Item = u64>, into: &mut Vec<u64>) {
        into.clear();
        into.extend(locals);
        let (mut position, mut prefix, mut rest) = (position as usize, before, &mut into[..]);
        while !rest.is_empty() {
            let (hashes, later) = rest.split_at_mut(rest.len().min(LANES - position % LANES));
            (self.ways.chain)(&self.keys, position, prefix, hashes);
            position += hashes.len();
            prefix = hashes[hashes.len() - 1];
            rest = later;
        }
    }

    /// Computes local hashes from prefix hashes.
    pub(crate) fn backwards(&self) -> Backwards<'_> {
        Backwards { hasher: self, stride: None }
    }
}

/// Computes local hashes from prefix hashes. Each change to another stride costs an inversion.
#[derive(Debug)]
pub(crate) struct Backwards<'a> {
    hasher: &'a PrefixHasher,
    /// The number of the stride before, and the inverse of its factor.
    stride: Option<(usize, u64)>,
}

impl Backwards<'_> {
    /// The local hash at `position`, from the prefix hashes `before` it and `at` it.
    pub(crate) fn local(&mut self, position: u32, before: u64, at: u64) -> u64 {
        let PrefixHasher { keys, ways } = self.hasher;
        let (number, lane) = (position as usize / LANES, position as usize % LANES);
        let inverse = match self.stride {
            Some((stride, inverse)) if stride == number => inverse,
            _ => keys.stride_inverse(number, ways),
        };
        self.stride = Some((number, inverse));
        keys.local(lane, at ^ before, inverse, ways)
    }
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
            self.extend(hasher, locals, whole);
        }
        let at = if whole == 0 { 0 } else { self.strides[whole - 1] };
        at ^ (hasher.ways.part)(&hasher.keys, whole, &locals[whole * LANES..end])
    }

    /// Computes the strides that are missing before stride number `to`.
    fn extend(&mut self, hasher: &PrefixHasher, locals: &[u64], to: usize) {
        let from = self.strides.len();
        let before = self.strides.last().copied().unwrap_or(0);
        self.strides.resize(to, 0);
        (hasher.ways.strides)(&hasher.keys, from, before, &locals.as_chunks().0[from..to], &mut self.strides[from..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::mix;
    use std::collections::HashSet;

    fn prefixes(hasher: &PrefixHasher, locals: &[u64]) -> Vec<u64> {
        let mut prefixes = Vec::new();
        hasher.chain(0, 0, locals.iter().copied(), &mut prefixes);
        prefixes
    }

    #[test]
    fn every_way_to_a_prefix_hash_agrees() {
        let hasher = PrefixHasher::seeded(7);
        let locals: Vec<u64> = (0..200).map(mix).collect();
        let expected = prefixes(&hasher, &locals);
        let mut rest = Vec::new();
        for from in 1..200 {
            hasher.chain(from as u32, expected[from - 1], locals[from..].iter().copied(), &mut rest);
            assert_eq!(rest, expected[from..], "from position {from}");
        }
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
        let hasher = PrefixHasher::seeded(3);
        let mut backwards = hasher.backwards();
        for locals in [vec![0; 100], (0..100).collect(), vec![u64::MAX; 100], (0..100).map(mix).collect()] {
            let at = prefixes(&hasher, &locals);
            for i in 0..100 {
                let before = if i == 0 { 0 } else { at[i - 1] };
                assert_eq!(backwards.local(i as u32, before, at[i]), locals[i]);
            }
        }
    }

    /// Sequences that simple sums, xors and products confuse: every prefix of every one must be told apart.
    #[test]
    fn patterned_sequences_do_not_collide() {
        let hasher = PrefixHasher::seeded(1);
        let mut sequences: Vec<Vec<u64>> = Vec::new();
        for base in [0, 1, 2, 3, 1 << 16, 1 << 31, 1 << 32, 1 << 62, 1 << 63, u64::MAX] {
            sequences.push(vec![base; 96]);
            sequences.push((0..96u64).map(|i| base.wrapping_add(i)).collect());
            sequences.push((0..96u64).map(|i| base.wrapping_sub(i)).collect());
        }
        // Two blocks swapped, two top bits flipped: the classic cancellations of a sum of products.
        let plain: Vec<u64> = (0..96).map(mix).collect();
        for i in (0..96).step_by(3) {
            for j in i + 1..96 {
                let mut swapped = plain.clone();
                swapped.swap(i, j);
                sequences.push(swapped);
                for flip in [1 << 63, 1 << 63 | 1 << 31, 0b1_1011] {
                    let mut flipped = plain.clone();
                    flipped[i] ^= flip;
                    flipped[j] ^= flip;
                    sequences.push(flipped);
                }
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
}
