//! A simulated inference engine, which publishes what a real one would, on a virtual clock.
//!
//! An [`Engine`] serves requests step by step, with continuous batching: it admits what its block pool has room for,
//! computes prompts in chunks beside the decoding of others, shares the blocks of equal prefixes, preempts and evicts
//! under pressure, and publishes what it stores and evicts as [`Event`](crate::event::Event)s. It computes nothing but
//! the time that a step would have taken. Nothing depends on the real clock or on threads: the same requests give the
//! same events.
//!
//! ```
//! use kvleap::mock::{Config, Engine, Profile, Request};
//! use kvleap::{EventData, Worker};
//!
//! let profile: Profile = "llama-3.1-8b@h100-80g".parse()?;
//! let mut engine = Engine::new(Worker::new(7, 0), Config { block_size: 16, ..profile.config()? })?;
//!
//! // 40 tokens of prompt, two full blocks; 10 tokens of answer fill the third.
//! let request = Request { prompt: [11, 12].into(), input_tokens: 40, output_tokens: 10, ..Request::default() };
//! engine.submit(0, request)?;
//! let mut stored = Vec::new();
//! engine.run_until(u64::MAX, |step| {
//!     for event in step.events {
//!         if let EventData::Stored { blocks, .. } = event.data {
//!             stored.push(blocks.len());
//!         }
//!     }
//! });
//! assert_eq!(stored, [2, 1]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod admission;
mod config;
mod engine;
mod latency;
mod pool;
mod profile;
mod request;
mod scheduler;
mod waiting;

pub use admission::Rates;
pub use config::{Config, ConfigError, Copies, Limits};
pub use engine::{Engine, Step};
pub use latency::{Constant, Latency, Roofline, Work};
pub use profile::{Gpu, Model, Profile, ProfileError};
pub use request::{Finished, Refusal, Request};
