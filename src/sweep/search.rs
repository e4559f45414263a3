//! Which rates to try: up a ladder until a backend is beyond its limit, then bisection to its threshold.

use super::{SweepError, Trial};

/// How many trials of a rate may be repeated because the machine was busy.
const REPEATS: u32 = 2;

/// How to look for a threshold. Rates are block operations per second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// The lowest rate that is tried.
    pub(super) lowest: f64,
    /// Of one rung of the ladder to the one below; above 1.
    pub(super) rung: f64,
    /// The highest rate at which a window is still long enough to be measured.
    pub(super) highest: f64,
    /// The threshold is found to within this factor; above 1.
    pub(super) precision: f64,
    /// How many runs in a row must pass.
    pub(super) in_a_row: u32,
}

/// Where a backend's limit is.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// The highest rate at which so many runs in a row passed; `None` if the lowest was too much.
    pub(super) threshold: Option<f64>,
    /// Whether the highest rate that can be measured was not too much.
    pub(super) beyond: bool,
}

impl Plan {
    /// Tries rates until the threshold is settled; `run` plays one trial at a rate.
    pub(super) fn search(&self, mut run: impl FnMut(f64) -> Result<Trial, SweepError>) -> Result<Found, SweepError> {
        // The ladder: one trial a rung, up to the first that fails.
        let mut passed = None;
        let mut failed = None;
        let mut rate = self.lowest;
        while failed.is_none() && rate <= self.highest {
            if self.takes(rate, 1, &mut run)? {
                passed = Some(rate);
                rate *= self.rung;
            } else {
                failed = Some(rate);
            }
        }
        let (Some(mut low), Some(mut high)) = (passed, failed) else {
            // Never failed, or never passed.
            let beyond = passed.is_some();
            let threshold = match passed {
                Some(rate) => self.takes(rate, self.in_a_row, &mut run)?.then_some(rate),
                None => None,
            };
            return Ok(Found { beyond: beyond && threshold.is_some(), threshold });
        };
        // What the chart shows of a backend beyond its limit.
        if high * self.rung <= self.highest {
            run(high * self.rung)?;
        }
        let mut settled = false;
        while low >= self.lowest {
            if high / low <= self.precision {
                if settled || self.takes(low, self.in_a_row, &mut run)? {
                    return Ok(Found { threshold: Some(low), beyond: false });
                }
                // It passed once and not again: the threshold is lower than it seemed.
                high = low;
                low /= self.precision * self.precision;
                continue;
            }
            let middle = (low * high).sqrt();
            if self.takes(middle, self.in_a_row, &mut run)? {
                (low, settled) = (middle, true);
            } else {
                high = middle;
            }
        }
        Ok(Found { threshold: None, beyond: false })
    }

    /// Whether so many runs in a row pass. One that failed on a machine that was busy with other things counts for
    /// nothing, and is repeated.
    fn takes(
        &self,
        rate: f64,
        times: u32,
        run: &mut impl FnMut(f64) -> Result<Trial, SweepError>,
    ) -> Result<bool, SweepError> {
        let (mut row, mut repeats) = (0, REPEATS);
        while row < times {
            let trial = run(rate)?;
            if trial.passes() {
                row += 1;
            } else if trial.is_disturbed() && repeats > 0 {
                repeats -= 1;
            } else {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
