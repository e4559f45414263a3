//! The search for a backend's threshold.
//!
//! It is an exponential search (Bentley and Yao 1976), on a logarithmic scale: the rate rises by a factor, a rung of a
//! ladder, until the backend fails, and bisection finds the threshold between the last two rungs. What differs from the
//! textbook is that trials are noisy. A rate counts as taken only if several runs in a row pass; a trial that failed
//! while the machine was busy with other work is repeated; and a rung that passed once but not again is taken back.

use super::{SweepError, Trial};

/// How many trials of a rate may be repeated because the machine was busy. There are more for the rungs of the ladder,
/// because they decide where the threshold is looked for at all.
const REPEATS: u32 = 2;
const LADDER_REPEATS: u32 = 4;

/// How to search. Rates are block operations per second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Search {
    /// The lowest rate that is tried.
    pub(super) lowest: f64,
    /// The factor from one rung of the ladder to the next; above 1.
    pub(super) rung: f64,
    /// The highest rate at which a window is still long enough to be measured.
    pub(super) highest: f64,
    /// The factor to within which the threshold is found; above 1.
    pub(super) precision: f64,
    /// The runs in a row that must pass.
    pub(super) in_a_row: u32,
}

/// The result of a search.
#[derive(Clone, Debug)]
pub(super) struct Threshold {
    /// The highest rate that the backend took; `None` if the lowest was too much.
    pub(super) rate: Option<f64>,
    /// Whether it took even the highest rate that can be measured.
    pub(super) is_a_bound: bool,
}

impl Search {
    /// Tries rates until the threshold is settled. `run` plays one trial at a rate, and also returns whether there is
    /// time to repeat it if it was disturbed.
    pub(super) fn run(
        &self,
        mut run: impl FnMut(f64) -> Result<(Trial, bool), SweepError>,
    ) -> Result<Threshold, SweepError> {
        // The ladder: one trial for each rung, up to the first that fails.
        let mut low = None;
        let mut high = self.lowest.min(self.highest);
        while takes(high, 1, LADDER_REPEATS, &mut run)? {
            if high >= self.highest {
                if takes(high, self.in_a_row, REPEATS, &mut run)? {
                    return Ok(Threshold { rate: Some(high), is_a_bound: true });
                }
                break;
            }
            low = Some(high);
            high = (high * self.rung).min(self.highest);
        }
        let Some(mut low) = low else {
            return Ok(Threshold { rate: None, is_a_bound: false });
        };
        // One trial far beyond the limit, so that the chart shows what happens there.
        if high * self.rung <= self.highest {
            run(high * self.rung)?;
        }
        // Bisection. `low` has passed once, which settles nothing yet: only runs in a row do.
        let mut settled = false;
        loop {
            if high / low > self.precision {
                let middle = (low * high).sqrt();
                if takes(middle, self.in_a_row, REPEATS, &mut run)? {
                    (low, settled) = (middle, true);
                } else {
                    high = middle;
                }
            } else if settled || takes(low, self.in_a_row, REPEATS, &mut run)? {
                return Ok(Threshold { rate: Some(low), is_a_bound: false });
            } else if low > self.lowest {
                // `low` passed once and not again: the threshold is a rung lower than it seemed.
                high = low;
                low = (low / self.rung).max(self.lowest);
            } else {
                return Ok(Threshold { rate: None, is_a_bound: false });
            }
        }
    }
}

/// Returns whether `times` runs in a row pass. A run that failed while the machine was busy with other work does not
/// count, and is repeated, `repeats` times in all.
fn takes(
    rate: f64,
    times: u32,
    mut repeats: u32,
    run: &mut impl FnMut(f64) -> Result<(Trial, bool), SweepError>,
) -> Result<bool, SweepError> {
    let mut row = 0;
    while row < times {
        let (trial, patient) = run(rate)?;
        if trial.passes() {
            row += 1;
        } else if trial.is_disturbed() && patient && repeats > 0 {
            repeats -= 1;
        } else {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEARCH: Search = Search { lowest: 1e3, rung: 6.0, highest: 1e8, precision: 1.1, in_a_row: 3 };

    fn trial(rate: f64, passes: bool, others: f64) -> Trial {
        Trial {
            window: 1.0,
            operations: 1,
            block_operations: 1,
            offered_ops: rate,
            offered_block_ops: rate,
            issued_ops: rate,
            achieved_ops: rate,
            achieved_block_ops: rate,
            issued_after: 1.0,
            done_after: 1.0,
            given_up: false,
            valid: true,
            kept_up: passes,
            left_in_queue: 0,
            left_share: 0.0,
            lookup_ns: None,
            response_ns: None,
            staleness_us: None,
            others: Some(others),
            rejected: Some(0),
        }
    }

    /// Searches for a limit; returns what was found, and the rates that were tried.
    fn search(limit: f64) -> (Threshold, Vec<f64>) {
        let mut rates = Vec::new();
        let found = SEARCH.run(|rate| {
            rates.push(rate);
            Ok((trial(rate, rate <= limit, 0.0), true))
        });
        (found.expect("no trial fails to run"), rates)
    }

    #[test]
    fn a_threshold_is_found_to_a_tenth_in_few_trials() {
        for limit in [1.2e3, 5.9e3, 6.0e3, 6.1e3, 4.44e5, 3.3e6, 6.0e7, 9.9e7] {
            let (found, rates) = search(limit);
            let threshold = found.rate.expect("the limit is above the lowest rate");
            assert!(threshold <= limit && limit <= threshold * SEARCH.precision, "{threshold} for {limit}");
            assert!(!found.is_a_bound && rates.len() <= 30, "{} trials for {limit}", rates.len());
            let confirmed = rates.iter().filter(|&&rate| (rate / threshold - 1.0).abs() < 1e-9).count();
            assert!(confirmed as u32 >= SEARCH.in_a_row, "{confirmed} runs at the threshold {threshold}");
        }
    }

    #[test]
    fn beyond_its_limit_a_backend_is_tried_only_once_more() {
        let (_, rates) = search(5e3);
        let worst = rates.iter().copied().fold(0.0, f64::max);
        assert!(worst <= 6e3 * SEARCH.rung, "{rates:?}");
    }

    #[test]
    fn ends_of_the_range_are_reported_as_such() {
        let (found, rates) = search(1.0);
        assert_eq!((found.rate, found.is_a_bound, rates.len()), (None, false, 1));
        let (found, rates) = search(1e12);
        assert!(found.is_a_bound && found.rate == rates.iter().copied().reduce(f64::max), "{found:?}");
        assert!(rates.iter().all(|&rate| rate <= SEARCH.highest));
    }

    #[test]
    fn a_rate_that_passes_only_now_and_then_is_no_threshold() {
        let mut runs = 0;
        let found = SEARCH.run(|rate| {
            runs += 1;
            // From 1e5 on, every other run passes.
            Ok((trial(rate, rate < 1e5 || runs % 2 == 0, 0.0), true))
        });
        let threshold = found.expect("no trial fails to run").rate.expect("low rates pass");
        assert!((1e5 / SEARCH.precision.powi(3)..1e5).contains(&threshold), "{threshold}");
    }

    #[test]
    fn what_fails_beside_other_work_is_repeated_and_not_for_ever() {
        let mut runs = 0;
        let found = SEARCH.run(|rate| {
            runs += 1;
            // Every third run is disturbed and fails, whatever the rate.
            let disturbed = runs % 3 == 0;
            Ok((trial(rate, rate <= 1e5 && !disturbed, if disturbed { 0.5 } else { 0.0 }), true))
        });
        let threshold = found.expect("no trial fails to run").rate.expect("low rates pass");
        assert!(threshold <= 1e5 && 1e5 <= threshold * SEARCH.precision, "{threshold}");

        for patient in [false, true] {
            let mut runs = 0;
            let always = SEARCH.run(|rate| {
                runs += 1;
                Ok((trial(rate, false, 0.5), patient))
            });
            assert_eq!(always.expect("no trial fails to run").rate, None);
            assert_eq!(runs, if patient { 1 + LADDER_REPEATS } else { 1 });
        }
    }
}
