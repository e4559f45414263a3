//! Generating traces, like a given one or from scratch.
//!
//! [`Model::learn`] records the empirical distributions of a trace: the tree of its shared prefixes and where requests
//! leave it, the lengths of unique prompts and of answers, and the arrivals. [`Model::requests`] draws requests from
//! it.
//!
//! ```
//! use kvleap::trace::{Rows, synth::{Model, Options}};
//!
//! let text = concat!(
//!     r#"{"timestamp": 0, "input_length": 1100, "output_length": 5, "hash_ids": [0, 1, 2]}"#, "\n",
//!     r#"{"timestamp": 9, "input_length": 1030, "output_length": 5, "hash_ids": [0, 1, 3]}"#,
//! );
//! let model = Model::learn(Rows::from_reader("example", text.as_bytes())?.checked(512)?, |_| {})?;
//! let requests = model.requests(&Options { num_requests: 100, ..Options::default() })?;
//! let requests = requests.collect::<Result<Vec<_>, _>>()?;
//! assert!(requests.len() == 100 && requests.iter().all(|row| row.hash_ids.len() == 3));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`scenario`] generates traces without a source.

mod generate;
mod limits;
mod model;
mod options;
pub mod scenario;
mod tree;

pub use generate::Requests;
pub use limits::Limits;
pub use model::{Model, Shape};
pub use options::Options;
