//! Choosing a worker: from what each holds of a prompt, and what is in flight there.
//!
//! A [`Router`] knows the workers, their [`Load`] and, where asked for, what they will hold before they say so. For
//! every request a [`Policy`] chooses one of them. What the workers hold comes in as [`Matches`] of an index; what they
//! do, from calls when a request is sent, answers its first token, goes on, and finishes. There is no clock: times are
//! nanoseconds since any moment that the caller likes, and never go back.
//!
//! # One router, one owner
//! A router is plain state behind `&mut`, because decisions must see each other: two requests at the same moment should
//! not both take the last free worker. Look up first, outside of any lock, and put the router into a mutex: with a
//! thousand workers, it is held for about a microsecond.
//!
//! ```
//! use kvleap::route::{Request, Router};
//! use kvleap::{Block, BlockHasher, Event, EventData, Index, Matches, Worker};
//!
//! let index = Index::builder().build()?;
//! let hasher = BlockHasher::new(16)?;
//! let mut router = Router::builder().block_size(16).build()?;
//! for id in 0..3 {
//!     router.add_worker(Worker::new(id, 0));
//! }
//!
//! // Worker 2 has cached the first two of three blocks.
//! let tokens: Vec<u32> = (0..48).collect();
//! let prompt = hasher.hash(&tokens);
//! let blocks = (100..).zip(&prompt[..2]).map(|(sequence, &local)| Block { sequence, local }).collect();
//! index.send(Event { worker: Worker::new(2, 0), id: 1, data: EventData::Stored { parent: None, blocks } })?;
//! index.flush()?; // only because we look at once
//!
//! // For every request: look up, choose, send.
//! let mut matches = Matches::new();
//! index.find(&prompt, &mut matches);
//! let request = Request { blocks: &prompt, tokens: tokens.len() as u64, ..Request::default() };
//! let (decision, ticket) = router.route(&request, &[&matches], 1_000)?;
//! assert_eq!((decision.worker, decision.held), (Worker::new(2, 0), 2));
//!
//! // And as the answer comes:
//! router.first_token(ticket, 2_000);
//! router.tokens(ticket, 1, 3_000);
//! router.finish(ticket, 4_000);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Tiers
//! Engines keep blocks in device memory, in host memory and on disk, and to bring one back is cheaper than to compute
//! it. [`Builder::credits`] says what a held block saves in each tier. The answers tell of tiers in one of two ways:
//!
//! - One answer for each tier, from an index for each. A router that knows of device memory only is the plainest case.
//! - With [`Builder::split_tiers`], one index for all tiers, in which a slower tier of a worker is a worker of its own.
//!   Every answer holds all tiers. There may be several, about different workers, as where engines hash a prompt in
//!   different ways: their union counts.
//!
//! Either way, a slower tier counts what is there *or in a faster one*: a worker with 2 blocks in device memory and the
//! next 3 in host memory has the depths 2 and 5. A block is worth the credit of the fastest tier that has it:
//!
//! ```text
//! credit = sum over the tiers, the fastest first, of
//!          credit of the tier x max(0, depth in it - greatest depth in a faster one)
//! ```
//!
//! What is predicted counts as the fastest tier's.
//!
//! # Predictions
//! An event tells of a prompt only when it is computed, and until then the next requests with the same prompt would go
//! elsewhere. With [`Builder::prediction`], a decision enters the blocks of its prompt into an index of the router's
//! own, and later decisions take the more of what the answers say and what is predicted. Real events replace a
//! prediction:
//!
//! - Where an answer says as much as was predicted, or more, the answer counts.
//! - [`Prediction::grace_ns`] after a request's first token, its prompt has been computed and told of. What it
//!   predicted ends, but for blocks that a later decision predicted again, and those that prompts of such decisions go
//!   on from.
//! - [`Prediction::ttl_ns`] after the last decision that predicted a block, it ends in any case: the request was lost.
//! - [`Router::cleared`] and [`Router::remove_worker`] end all that was predicted of the worker.
//!
//! Where engines publish nothing, [`Prediction::instead_of_events`] goes on for as long as a cache of a given size
//! would hold the blocks, by the router's own decisions alone. It does not see what the answers add, nor what other
//! routers send.
//!
//! # What is not counted
//! Prompts in flight at the same worker that share blocks count as if each had its own. Several routers over one fleet
//! do not see each other's requests.

mod config;
mod error;
mod explain;
mod fleet;
mod load;
mod mask;
mod overlap;
pub mod policy;
mod predict;
mod random;
mod request;
mod router;

pub use config::Builder;
pub use error::{ConfigError, Refusal};
pub use explain::{Considered, Explanation};
pub use fleet::Load;
pub use load::Ticket;
pub use mask::Mask;
pub use policy::{
    Candidates, Cost, CostBased, LeastLoaded, LongestPrefix, Policy, PowerOfTwo, RandomChoice, RoundRobin,
};
pub use policy::{SessionAffinity, UnknownPolicy, Weights};
pub use predict::Prediction;
pub use random::Random;
pub use request::{Decision, Request};
pub use router::Router;
