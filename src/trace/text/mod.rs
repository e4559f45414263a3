//! From text to ids: prompts through a tokenizer.
//!
//! ```
//! use kvleap::trace::text::{Prompts, Settings, Tokenizer, hash};
//!
//! let prompts = concat!(r#"{"prompt": "a b c d"}"#, "\n", r#"{"prompt": "a b e f"}"#, "\n", r#"{"prompt": "x y c d"}"#);
//! let settings = Settings { block_size: 2, ..Settings::default() };
//! let mut ids = Vec::new();
//! hash(Prompts::from_reader("example", prompts.as_bytes())?, &Tokenizer::Whitespace, &settings, |row| {
//!     ids.push(row.hash_ids);
//!     Ok(())
//! })?;
//! assert_eq!(ids, [[0, 1], [0, 2], [3, 4]]); // c d is another block under another prefix
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod chains;
mod prompts;
mod tokenizer;

pub use prompts::{Prompts, Settings, hash};
pub use tokenizer::Tokenizer;

pub(super) use chains::Chains;
