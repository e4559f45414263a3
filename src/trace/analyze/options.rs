//! Options of an analysis.

use crate::trace::ToolError;

/// Options of an analysis.
#[derive(Clone, Debug)]
pub struct Options {
    /// Numbers of workers to compute a [`Curve`](super::Curve) for. Default 1, 2, 4 and 8. Each worker of each curve
    /// takes at most eight bytes for every row with ids of its own.
    pub workers: Vec<u32>,
    /// Length of a [`Window`](super::Window) in milliseconds. Default one minute.
    pub window_ms: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { workers: vec![1, 2, 4, 8], window_ms: 60_000 }
    }
}

impl Options {
    /// The most workers of a fleet.
    pub const MAX_WORKERS: u32 = 1 << 10;

    /// Checks that all options are in range.
    ///
    /// # Errors
    /// [`ToolError::Option`] names the first that is not.
    pub fn check(&self) -> Result<(), ToolError> {
        let fail = |option, why: &str| Err(ToolError::Option { option, why: why.to_owned() });
        if self.window_ms == 0 {
            return fail("--window", "is 0; it must be at least a millisecond");
        }
        if self.workers.iter().any(|&workers| !(1..=Self::MAX_WORKERS).contains(&workers)) {
            return fail("--workers", &format!("must be between 1 and {}", Self::MAX_WORKERS));
        }
        Ok(())
    }
}
