//! Conversion between rows and other forms of traces.
//!
//! - [`sessions`]: recorded sessions of coding agents, each a JSON object, to rows and back.
//! - [`chats`]: conversations in the format of `ShareGPT` or of chat APIs, through a tokenizer (feature `tokenizer`).
//! - [`Resize`]: rows in larger blocks to rows in smaller ones.
//! - [`Rechain`]: ids that stand for a block alone to ids that stand for its prefix, too.

mod arrivals;
#[cfg(feature = "tokenizer")]
pub mod chats;
#[cfg(feature = "tokenizer")]
mod job;
mod rows;
pub mod sessions;

pub use arrivals::Arrivals;
#[cfg(feature = "tokenizer")]
pub use job::{Job, Kind, Line, convert};
pub use rows::{Rechain, Resize};
