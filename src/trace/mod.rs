//! Request traces: which blocks were asked for, and when.
//!
//! A trace is a file of JSON lines in the Mooncake format, plain or compressed with gzip or zstd, one request per
//! [`Row`]:
//!
//! ```json
//! {"timestamp": 0, "input_length": 1100, "output_length": 500, "hash_ids": [0, 1, 2], "session_id": "a"}
//! ```
//!
//! [`open`] reads rows one by one and checks that they fit the trace's block size, and [`Expansion`] turns the ids of a
//! row into the local hashes of a query:
//!
//! ```
//! use kvleap::trace::{Expansion, Rows};
//!
//! let text = r#"{"timestamp": 0, "input_length": 1100, "output_length": 500, "hash_ids": [0, 1, 2]}"#;
//! let expansion = Expansion::new(512, 128)?;
//! let mut hashes = Vec::new();
//! for row in Rows::from_reader("example", text.as_bytes())?.checked(512)? {
//!     expansion.expand(&row?, &mut hashes)?;
//! }
//! assert_eq!(hashes.len(), 8); // 1100 tokens fill eight blocks of 128
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`analyze`] measures a trace, [`synth`] generates traces like a given one or from scratch, and [`convert`] turns
//! other formats into traces and back.

#![allow(clippy::cast_sign_loss)] // lengths, times and counts are not negative

pub mod analyze;
mod blocks;
mod check;
mod compression;
pub mod convert;
mod error;
mod expand;
mod fitting;
mod input;
mod lines;
mod numbers;
mod output;
mod plain;
mod prefixes;
mod reader;
pub mod synth;
#[cfg(feature = "tokenizer")]
pub mod text;

pub use compression::Compression;
pub use error::{Form, Mismatch, Reason, ToolError, TraceError};
pub use expand::{ExpandError, Expansion};
pub use fitting::FittingSizes;
#[cfg(feature = "figures")]
pub(crate) use input::Input;
pub use input::Progress;
#[cfg(feature = "figures")]
pub(crate) use lines::Lines;
pub use output::Output;
pub use reader::{CheckedRows, Rows, open};

use serde::{Deserialize, Serialize};

/// Tokens that an id of most public traces stands for.
pub const BLOCK_SIZE: u32 = 512;

/// The longest line that is read, in bytes: 16 MiB, enough for a prompt of a million blocks.
pub const MAX_LINE: usize = 16 << 20;

/// One request of a trace. Unknown fields of the file are ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// When the request arrived, in milliseconds since the start of the trace.
    pub timestamp: u64,
    /// Tokens of the prompt.
    pub input_length: u32,
    /// Tokens of the answer.
    pub output_length: u32,
    /// Ids of the prompt's blocks, in order. An id stands for a block and its whole prefix: equal ids mean equal
    /// prefixes.
    pub hash_ids: Vec<u64>,
    /// The conversation that the request belongs to, if the trace records it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
}
