//! Which rates to try: up a ladder until a backend is beyond its limit, then bisection to its threshold.

use super::{SweepError, Trial};

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
    /// Tries rates until the threshold is settled. `run` plays one trial at a rate; what is left to do is told as the
    /// number of bisections that remain, of how many.
    pub(super) fn search(
        &self,
        mut run: impl FnMut(f64) -> Result<Trial, SweepError>,
    ) -> Result<Found, SweepError> {
        // The ladder: one trial a rung, up to the first that fails twice.
        let mut passed = None;
        let mut failed = None;
        let mut rate = self.lowest;
        while failed.is_none() && rate <= self.highest {
            if self.once_more(rate, &mut run)? {
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
                Some(rate) => self.in_a_row(rate, &mut run)?.then_some(rate),
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
                if settled || self.in_a_row(low, &mut run)? {
                    return Ok(Found { threshold: Some(low), beyond: false });
                }
                // It passed once and not again: the threshold is lower than it seemed.
                high = low;
                low /= self.precision * self.precision;
                continue;
            }
            let middle = (low * high).sqrt();
            if self.in_a_row(middle, &mut run)? {
                (low, settled) = (middle, true);
            } else {
                high = middle;
            }
        }
        Ok(Found { threshold: None, beyond: false })
    }

    /// Whether one of two runs passes: the ladder must not end where the machine was busy with something else.
    fn once_more(
        &self,
        rate: f64,
        run: &mut impl FnMut(f64) -> Result<Trial, SweepError>,
    ) -> Result<bool, SweepError> {
        Ok(run(rate)?.passes() || run(rate)?.passes())
    }

    /// Whether so many runs in a row pass, of at most one more.
    fn in_a_row(&self, rate: f64, run: &mut impl FnMut(f64) -> Result<Trial, SweepError>) -> Result<bool, SweepError> {
        let mut row = 0;
        for _ in 0..=self.in_a_row {
            row = if run(rate)?.passes() { row + 1 } else { 0 };
            if row == self.in_a_row {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
