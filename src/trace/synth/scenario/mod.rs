//! Traces without a source: four kinds of traffic, each with a few parameters.
//!
//! | parameter | shared-prompts | conversations | rag | agents |
//! |---|---|---|---|---|
//! | `prefixes`: shared prompts, documents | 100 | 20 | 10,000 | 4 |
//! | `prefix_tokens`: mean of their lengths | 2,000 | 1,000 | 800 | 15,000 |
//! | `zipf`: exponent of their popularity | 1 | 1 | 1 | 1 |
//! | `prompt_tokens`: mean of what is new in each request | 200 | 150 | 50 | 700 |
//! | `output_tokens`: mean of the answers | 200 | 300 | 300 | 250 |
//! | `rate`: requests a second | 10 | 10 | 10 | 10 |
//! | `turns`: mean of the requests of a session | | 6 | | 40 |
//! | `pause`: mean of the seconds between them | | 30 | | 8 |
//! | `max_context`: tokens | | 32,768 | | 131,072 |
//! | `retrieved`: documents of a request | | | 3 | |
//! | `system_tokens`: a prompt before them | | | 500 | |
//! | `sorted`: whether by an order of their own | | | no | |
//!
//! - **shared-prompts**: one of a few system prompts, then what the user says.
//! - **conversations**: a system prompt, and turn after turn; each prompt has all that was said before. A conversation
//!   that would exceed `max_context` ends.
//! - **rag**: the system prompt, documents in the order in which they were retrieved, a question. A document is reused
//!   only behind the same ones, which is more often if they are `sorted`.
//! - **agents**: long sessions of many fast steps under a long prompt of tools and instructions. One that would exceed
//!   `max_context` is compacted: it goes on with its prompt and a fresh summary of a tenth of `max_context`.
//!
//! The prefix of rank *k* is picked with a probability proportional to `1 / k^zipf`. Lengths and pauses are distributed
//! exponentially, lengths rounded up to whole tokens; a prefix's length is drawn once. Sessions have a geometric number
//! of requests. Requests of their own, and sessions, arrive in a Poisson process, sessions `turns` times more rarely, so
//! that there are `rate` requests a second once as many sessions end as begin.

mod draw;
mod generator;
mod kind;
mod parameters;
mod prompt;
mod session;
mod single;

pub use generator::Scenario;
pub use kind::Kind;
pub use parameters::Parameters;
