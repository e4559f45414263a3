//! Where random choices come from: a seeded generator, or the bytes of a fuzzer's input.

/// A source of choices.
pub(crate) trait Draw {
    /// Returns a number below `count`, which is at least 1.
    fn below(&mut self, count: u64) -> u64;

    /// Returns true once in so many times on average.
    fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// Returns one of a few.
    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    /// Returns a number from 1 to `most`; small ones more often, and all sizes alike.
    fn size(&mut self, most: u64) -> u64 {
        let bits = u64::from(most.ilog2()) + 1;
        let below = 1 << (1 + self.below(bits));
        (1 + self.below(below)).min(most)
    }
}
