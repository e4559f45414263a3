//! Other ways to hold the same index, to judge and to compare with.
//!
//! [`reference`](mod@reference) is the contract, word for word. Whatever can be fed and asked implements one trait,
//! [`Backend`]: the reference, an index that does nothing, and six historic designs, which [`Design::open`] makes. On
//! [`Collisions`], those that are not exact show it.
//!
//! The six are the chapters of a published story, "Flash Indexer: A Story of Inter-Galactic KV Routing" (2026-02-14),
//! told by the authors of NVIDIA Dynamo's router. They are written as it tells them, flaws included; each file
//! says what its design costs, where it is wrong, and what it adds where the story is silent. All maps have one fast
//! hash, since designs are compared, and not hashes. Removed workers and events that make no sense, of which the story
//! knows nothing, are dealt with outside the designs.

pub mod reference;

mod actor;
mod backend;
mod collisions;
mod concurrent;
mod design;
mod inverted;
mod locked;
mod model;
mod nested;
mod null;
mod pool;
mod positional;
mod radix;
mod thread;

pub use self::backend::{Backend, Reader};
pub use self::collisions::Collisions;
pub use self::design::{Design, Writers};
