//! Arithmetic modulo 2^64, and a fast hash made of it. It has no key, so it is for what strangers do not choose: workers
//! and places.

use std::hash::{BuildHasherDefault, Hasher};

/// The finaliser of `SplitMix64` (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
#[inline]
pub(crate) fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
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

/// For hash maps.
pub(crate) type BuildMix = BuildHasherDefault<Mix>;

/// Mixes word by word.
#[derive(Debug, Default)]
pub(crate) struct Mix(u64);

impl Hasher for Mix {
    #[inline]
    fn write_u64(&mut self, word: u64) {
        self.0 = mix(self.0 ^ word);
    }

    #[inline]
    fn write_u32(&mut self, word: u32) {
        self.write_u64(word.into());
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(byte.into());
        }
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inverses() {
        for odd in (0..1000).map(|i| mix(i) | 1).chain([1, 3, u64::MAX]) {
            assert_eq!(odd.wrapping_mul(inverse(odd)), 1);
        }
    }
}
