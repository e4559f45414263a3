//! Measuring a trace: lengths, reuse, arrivals.
//!
//! An analysis is one pass over the rows. Memory grows with the distinct ids (see [`Options::workers`]), the distinct
//! values of the metrics, the windows and the sessions, but not with the rows.
//!
//! ```
//! use kvleap::trace::{Rows, analyze::{Options, analyze}};
//!
//! let text = concat!(
//!     r#"{"timestamp": 0, "input_length": 1100, "output_length": 5, "hash_ids": [0, 1, 2]}"#, "\n",
//!     r#"{"timestamp": 9, "input_length": 1030, "output_length": 5, "hash_ids": [0, 1, 3]}"#,
//! );
//! let rows = Rows::from_reader("example", text.as_bytes())?.checked(512)?;
//! let analysis = analyze(rows, &Options::default(), |_| {})?;
//! assert_eq!(analysis.metrics.get("Context Length").map(|summary| summary.mean), Some(1024.0));
//! assert_eq!(analysis.block_weighted_hit_rate, Some(2.0 / 6.0)); // 0 and 1, the second time
//! assert_eq!(analysis.curves[0].hit_rate(1), 1.0 / 6.0); // one block of cache keeps 0 only
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod analysis;
mod arrivals;
mod collect;
mod context;
mod curve;
#[cfg(feature = "report")]
mod figure;
mod metrics;
mod options;
mod reuse;
mod sessions;
mod tally;

pub use analysis::Analysis;
pub use arrivals::{Arrivals, Window};
pub use collect::analyze;
pub use curve::{Curve, CurvePoint};
#[cfg(feature = "report")]
pub use figure::figure;
pub use metrics::{Histogram, Metrics};
pub use options::Options;
pub use sessions::Sessions;
pub use tally::Summary;
