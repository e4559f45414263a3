//! Limits on the lengths of prompts and answers.

use std::iter;

use super::options::positive;
use crate::trace::{Row, ToolError};

/// After this many requests in a row that do not pass, drawing fails.
pub(super) const PATIENCE: u64 = 1 << 20;

/// Limits on the lengths of prompts and answers, in tokens.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Requests with shorter prompts are dropped. Default 0.
    pub min_isl: u32,
    /// Requests with longer prompts are dropped. Default none.
    pub max_isl: u32,
    /// Factor for the lengths of answers. Above 0, default 1.
    pub osl_multiplier: f64,
    /// Shorter answers are extended to this length. Default 0.
    pub min_osl: u32,
    /// Longer answers are cut to this length. Default none.
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

    /// Returns the length of a prompt if it passes.
    pub(super) fn input(&self, length: u64) -> Option<u32> {
        u32::try_from(length).ok().filter(|length| (self.min_isl..=self.max_isl).contains(length))
    }

    /// Returns the length of an answer. The conversion of a product that is too large saturates.
    pub(super) fn output(&self, length: u32) -> u32 {
        let length = (f64::from(length) * self.osl_multiplier).round() as u32;
        length.clamp(self.min_osl, self.max_osl)
    }
}

/// Takes the first `left` rows that pass the limits. If a million rows in succession do not pass, an error ends them.
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
