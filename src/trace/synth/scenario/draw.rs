//! Random numbers.

use fastrand::Rng;

/// Draws from an exponential distribution.
pub(super) fn exponential(random: &mut Rng, mean: f64) -> f64 {
    -mean * (1.0 - random.f64()).ln()
}

/// Draws a number of tokens from an exponential distribution, rounded up; 0 if the mean is 0.
pub(super) fn tokens(random: &mut Rng, mean: f64) -> u32 {
    exponential(random, mean).ceil() as u32
}

/// A Zipf distribution over ranks from 0: rank `k` has a weight of `1 / (k + 1)^exponent`.
#[derive(Debug)]
pub(super) struct Zipf {
    /// For each rank, the sum of its weight and those before it.
    sums: Vec<f64>,
}

impl Zipf {
    pub(super) fn new(ranks: u32, exponent: f64) -> Self {
        let mut sum = 0.0;
        let weigh = |rank| {
            sum += f64::from(rank).powf(-exponent);
            sum
        };
        Self { sums: (1..=ranks).map(weigh).collect() }
    }

    pub(super) fn draw(&self, random: &mut Rng) -> u32 {
        let place = random.f64() * self.sums.last().copied().unwrap_or(0.0);
        let rank = self.sums.partition_point(|&sum| sum <= place);
        rank.min(self.sums.len() - 1) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn low_ranks_are_as_popular_as_zipf_says() {
        let (zipf, mut random) = (Zipf::new(4, 1.0), Rng::with_seed(1));
        let mut counts = [0.0; 4];
        (0..100_000).for_each(|_| counts[zipf.draw(&mut random) as usize] += 1.0);
        let sum = 1.0 + 1.0 / 2.0 + 1.0 / 3.0 + 1.0 / 4.0;
        for (rank, count) in (1..).zip(counts) {
            let expected = 100_000.0 / sum / f64::from(rank);
            assert!((count - expected).abs() < 0.03 * expected, "rank {rank}: {count}, not {expected}");
        }
        let equal = Zipf::new(3, 0.0);
        assert!((0..100).map(|_| equal.draw(&mut random)).max() == Some(2));
    }

    #[test]
    fn tokens_have_their_mean() {
        let mut random = Rng::with_seed(2);
        let sum: f64 = (0..100_000).map(|_| f64::from(tokens(&mut random, 200.0))).sum();
        assert!((sum / 100_000.0 - 200.5).abs() < 4.0, "{sum}");
        assert_eq!(tokens(&mut random, 0.0), 0);
    }
}
