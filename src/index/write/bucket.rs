//! A bucket of the worker maps' hash table: one cache line with a tag byte of each key, compared all at once, and where
//! the entries are.

/// Entries in a bucket.
pub(crate) const MEMBERS: usize = 12;

/// Up to twelve entries.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
pub(crate) struct Bucket {
    /// The tag of each member; 0 where there is none.
    tags: [u8; MEMBERS],
    /// How many entries belong into this bucket, or one before it, and are in one behind it.
    displaced: u32,
    /// Where the entry of each member is.
    pub(crate) entries: [u32; MEMBERS],
}

const _: () = assert!(size_of::<Bucket>() == 64);

/// A set of members, as bits.
#[derive(Clone, Debug)]
pub(crate) struct Members(u32);

impl Iterator for Members {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        let first = self.0.trailing_zeros() as usize;
        self.0 &= self.0.wrapping_sub(1);
        (first < MEMBERS).then_some(first)
    }
}

/// The tag of a key: never 0.
#[inline]
fn tag(key: u64) -> u8 {
    (key as u8).max(1)
}

impl Bucket {
    const ALL: u32 = (1 << MEMBERS) - 1;

    /// The members that may have this key.
    #[inline]
    pub(crate) fn find(&self, key: u64) -> Members {
        Members(self.equal(tag(key)))
    }

    /// A member number that is free.
    #[inline]
    pub(crate) fn vacant(&self) -> Option<usize> {
        Members(self.equal(0)).next()
    }

    /// The members with this tag, as bits.
    #[cfg(target_arch = "x86_64")]
    #[inline]
    #[allow(unsafe_code, reason = "pays, see BENCHMARKS.md: compares sixteen bytes at once")]
    fn equal(&self, tag: u8) -> u32 {
        use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_load_si128, _mm_movemask_epi8, _mm_set1_epi8};
        // SAFETY: SSE2 is part of x86-64. A bucket has more than sixteen bytes and is aligned to more.
        let equal = unsafe {
            let tags = _mm_load_si128((&raw const *self).cast());
            _mm_movemask_epi8(_mm_cmpeq_epi8(tags, _mm_set1_epi8(tag.cast_signed())))
        };
        equal.cast_unsigned() & Self::ALL
    }

    #[cfg(not(target_arch = "x86_64"))]
    #[inline]
    fn equal(&self, tag: u8) -> u32 {
        self.tags.iter().rev().fold(0, |bits, &of| bits << 1 | u32::from(of == tag))
    }

    #[inline]
    pub(crate) fn set(&mut self, member: usize, key: u64, entry: u32) {
        self.tags[member] = tag(key);
        self.entries[member] = entry;
    }

    #[inline]
    pub(crate) fn vacate(&mut self, member: usize) {
        self.tags[member] = 0;
    }

    /// Whether entries that belong into this bucket, or one before it, are behind it.
    #[inline]
    pub(crate) fn displaced_any(&self) -> bool {
        self.displaced > 0
    }

    pub(crate) fn displace(&mut self) {
        self.displaced += 1;
    }

    pub(crate) fn undisplace(&mut self) {
        self.displaced -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever the keys, and however many are displaced, tags are found where they are and nowhere else.
        #[test]
        fn tags_are_compared_one_by_one(
            keys in prop::array::uniform12(prop::option::of(0u64..300)),
            asked in 0u64..300,
            displaced in any::<u32>(),
        ) {
            let mut bucket = Bucket { displaced, ..Bucket::default() };
            for (member, key) in keys.iter().enumerate() {
                if let Some(key) = *key {
                    bucket.set(member, key, member as u32);
                }
            }
            let where_ = |test: &dyn Fn(Option<u64>) -> bool| -> Vec<usize> {
                (0..MEMBERS).filter(|&member| test(keys[member])).collect()
            };
            prop_assert_eq!(bucket.find(asked).collect::<Vec<_>>(), where_(&|key| key.map(tag) == Some(tag(asked))));
            prop_assert_eq!(bucket.vacant(), where_(&|key| key.is_none()).first().copied());
        }
    }
}
