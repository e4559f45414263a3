//! A report as a self-contained HTML page, or as one figure.

mod charts;
mod figure;
mod html;
mod measures;
mod words;

pub use figure::figure;
pub use html::html;
pub use words::summary;

use super::{PolicyReport, Report};

/// Returns the results by cell.
fn cells(report: &Report) -> Vec<&[PolicyReport]> {
    report.policies.chunk_by(|a, b| a.at == b.at).collect()
}
