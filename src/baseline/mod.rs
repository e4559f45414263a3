//! Other designs of the same index: one to verify answers with, and seven to compare with.
//!
//! [`reference`](mod@reference) is a literal model of the contract. [`Design::open`] opens it, six historic designs, and
//! an index that does nothing, all behind one trait, [`Backend`]. On [`Collisions`], the designs that are not exact give
//! wrong answers.
//!
//! The six historic designs are the chapters of "Flash Indexer: A Story of Inter-Galactic KV Routing" (2026-02-14), by
//! the authors of NVIDIA Dynamo's router. They are written as the story tells them, flaws included. Each file says what
//! its design costs, where it is wrong, and what was added where the story does not say. All maps use one fast hash, so
//! that designs are compared and not hashes. Removed workers and invalid events, which the story does not mention, are
//! handled outside the designs.

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
