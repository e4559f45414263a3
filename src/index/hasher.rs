//! A fast hash for small keys that no stranger chooses: workers and places.

use std::hash::{BuildHasherDefault, Hasher};

use super::prefix::mix;

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
