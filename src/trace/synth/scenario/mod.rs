//! Traces without a source: four kinds of traffic, each with a few parameters.
//!
//! | parameter | shared-prompts | conversations | rag | agents |
//! |---|---|---|---|---|
//! | `prefixes`: number of shared prompts or documents | 100 | 20 | 10,000 | 4 |
//! | `prefix_tokens`: mean of their lengths | 2,000 | 1,000 | 800 | 15,000 |
//! | `zipf`: exponent of their popularity | 1 | 1 | 1 | 1 |
//! | `prompt_tokens`: mean of the new tokens of each request | 200 | 150 | 50 | 700 |
//! | `output_tokens`: mean length of the answers | 200 | 300 | 300 | 250 |
//! | `rate`: requests per second | 10 | 10 | 10 | 10 |
//! | `turns`: mean requests of a session | | 6 | | 40 |
//! | `pause`: mean seconds between them | | 30 | | 8 |
//! | `max_context`: longest prompt in tokens | | 32,768 | | 131,072 |
//! | `retrieved`: documents in a request | | | 3 | |
//! | `system_tokens`: length of the prompt before them | | | 500 | |
//! | `sorted`: whether documents are in a fixed order | | | no | |
//!
//! - **shared-prompts**: one of a few system prompts, then a message of the user.
//! - **conversations**: a system prompt and several turns; each prompt contains all earlier turns. A conversation that
//!   would exceed `max_context` ends.
//! - **rag**: the system prompt, documents in the order in which they were retrieved, and a question. A document is
//!   reused only after the same documents, which happens more often if they are `sorted`.
//! - **agents**: long sessions of many fast steps, which start with a long prompt of tools and instructions. A session
//!   that would exceed `max_context` is compacted: it continues with its first prompt and a fresh summary of a tenth of
//!   `max_context`.
//!
//! The prefix of rank *k*, from 1, is picked with a probability proportional to `1 / k^zipf` (Zipf's law). Lengths and
//! pauses are exponentially distributed, lengths rounded up to whole tokens; the length of a prefix is drawn once. The
//! number of requests in a session is geometrically distributed. Single requests arrive in a Poisson process; so do
//! sessions, `turns` times more rarely, which makes `rate` requests per second once as many sessions end as start.

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
