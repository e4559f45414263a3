//! Which requests pass, by their lengths.

use std::iter;

use super::options::positive;
use crate::trace::{Row, ToolError};

/// Requests in vain, one after another, before it is given up.
pub(super) const PATIENCE: u64 = 1 << 20;

/// Lengths in tokens that requests may have.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Requests with shorter prompts are left out. Default 0.
    pub min_isl: u32,
    /// Requests with longer prompts are left out. Default none.
    pub max_isl: u32,
    /// The lengths of answers, multiplied. Above 0, default 1.
    pub osl_multiplier: f64,
    /// Shorter answers get this length. Default 0.
    pub min_osl: u32,
    /// Longer answers get this length. Default none.
    pub max_osl: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { min_isl: 0, max_isl: u32::MAX, osl_multiplier: 1.0, min_osl: 0, max_osl: u32::MAX }
    }
}

impl Limits {
    pub(super) fn check(&self) -> Result<(), ToolError> {
        positive("--osl-multiplier", self.osl_multiplier)?;
        for (option, min, max) in [("--min-isl", self.min_isl, self.max_isl), ("--min-osl", self.min_osl, self.max_osl)]
        {
            if min > max {
                return Err(ToolError::Option { option, why: format!("is {min}, above the maximum {max}") });
            }
        }
        Ok(())
    }

    /// The length of a prompt, if it passes.
    pub(super) fn input(&self, length: u64) -> Option<u32> {
        u32::try_from(length).ok().filter(|length| (self.min_isl..=self.max_isl).contains(length))
    }

    /// The length of an answer. A float too large for it becomes the largest.
    pub(super) fn output(&self, length: u32) -> u32 {
        let length = (f64::from(length) * self.osl_multiplier).round() as u32;
        length.clamp(self.min_osl, self.max_osl)
    }
}

/// So many rows that pass the limits. Where a million in a row do not, an error ends them.
pub(super) fn limited(
    mut rows: impl Iterator<Item = Row>,
    limits: Limits,
    mut left: u64,
) -> impl Iterator<Item = Result<Row, ToolError>> {
    iter::from_fn(move || {
        left = left.checked_sub(1)?;
        let (mut shortest, mut longest) = (u64::MAX, 0);
        for _ in 0..PATIENCE {
            let mut row = rows.next()?;
            let input_length = row.input_length.into();
            if limits.input(input_length).is_some() {
                row.output_length = limits.output(row.output_length);
                return Some(Ok(row));
            }
            (shortest, longest) = (shortest.min(input_length), longest.max(input_length));
        }
        left = 0;
        Some(Err(ToolError::NothingPasses { drawn: PATIENCE, shortest, longest }))
    })
}
