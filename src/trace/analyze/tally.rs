//! Exact distributions, from how often each value occurs.

use hashbrown::HashMap;
use serde::Serialize;

/// Counts values. Memory grows with the number of distinct values.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// By the bits of the value, which must not be NaN.
    counts: HashMap<u64, u64>,
}

impl Tally {
    pub(super) fn add(&mut self, value: f64) {
        // Turns -0 into 0: the two have different bits.
        *self.counts.entry((value + 0.0).to_bits()).or_default() += 1;
    }

    /// Returns the summary; `None` if nothing was counted.
    pub(super) fn summary(&self) -> Option<Summary> {
        let mut values: Vec<(f64, u64)> = self.counts.iter().map(|(&bits, &n)| (f64::from_bits(bits), n)).collect();
        values.sort_unstable_by(|(a, _), (b, _)| a.total_cmp(b));
        let (&(min, _), &(max, _)) = (values.first()?, values.last()?);
        let count: u64 = values.iter().map(|(_, n)| n).sum();
        let mean = values.iter().map(|&(value, n)| value * n as f64).sum::<f64>() / count as f64;
        let squares: f64 = values.iter().map(|&(value, n)| (value - mean).powi(2) * n as f64).sum();
        let [p25, median, p75] = [0.25, 0.5, 0.75].map(|part| percentile(&values, part * (count - 1) as f64));
        Some(Summary { mean, std: (squares / count as f64).sqrt(), min, p25, median, p75, max })
    }

    /// Divides the range of the values into `bins` equal intervals. Returns the start of each, and how many values are
    /// in it.
    pub(super) fn histogram(&self, bins: usize) -> Vec<(f64, u64)> {
        let values = || self.counts.keys().map(|&bits| f64::from_bits(bits));
        let (min, max) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
        let width = if max > min { (max - min) / bins as f64 } else { 1.0 };
        let mut histogram: Vec<(f64, u64)> = (0..bins).map(|bin| (min + bin as f64 * width, 0)).collect();
        for (&bits, &n) in &self.counts {
            let bin = ((f64::from_bits(bits) - min) / width) as usize;
            histogram[bin.min(bins - 1)].1 += n;
        }
        histogram
    }
}

/// Returns the value at a place among the sorted values, from 0, interpolated linearly between two places.
fn percentile(values: &[(f64, u64)], place: f64) -> f64 {
    let at = |place: u64| {
        let mut before = 0;
        let found = values.iter().find(|(_, n)| {
            before += n;
            place < before
        });
        found.map_or(f64::NAN, |(value, _)| *value)
    };
    let (low, high) = (at(place.floor() as u64), at(place.ceil() as u64));
    low + (high - low) * place.fract()
}

/// A distribution of at least one value in seven numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Arithmetic mean.
    pub mean: f64,
    /// Standard deviation of the whole population (divided by n, not n - 1).
    pub std: f64,
    /// Minimum.
    pub min: f64,
    /// First quartile; percentiles are interpolated linearly, as numpy does.
    pub p25: f64,
    /// Second quartile.
    pub median: f64,
    /// Third quartile.
    pub p75: f64,
    /// Maximum.
    pub max: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(values: &[f64]) -> Tally {
        let mut tally = Tally::default();
        for &value in values {
            tally.add(value);
        }
        tally
    }

    fn summary(values: &[f64]) -> Summary {
        tally(values).summary().expect("a value")
    }

    #[test]
    fn figures_are_numpys() {
        let of_four = summary(&[4.0, 1.0, 2.0, 4.0]);
        assert_eq!((of_four.mean, of_four.min, of_four.max), (2.75, 1.0, 4.0));
        assert_eq!((of_four.p25, of_four.median, of_four.p75), (1.75, 3.0, 4.0));
        assert!((of_four.std - 1.6875_f64.sqrt()).abs() < 1e-15);
        let of_one = summary(&[-3.5]);
        assert_eq!((of_one.mean, of_one.std, of_one.p25, of_one.p75), (-3.5, 0.0, -3.5, -3.5));
        assert_eq!(tally(&[]).summary(), None);
        assert_eq!(tally(&[-0.0, 0.0]).counts.len(), 1);
    }

    #[test]
    fn histograms_hold_every_value() {
        assert_eq!(tally(&[0.0, 1.0, 9.0, 10.0, 10.0]).histogram(2), [(0.0, 2), (5.0, 3)]);
        assert_eq!(tally(&[7.0]).histogram(2), [(7.0, 1), (8.0, 0)]);
    }
}
