//! Choosing a worker by what it holds of a prompt and what is in flight there.
//!
//! A [`Router`] knows the workers, their [`Load`] and, if asked to predict, what they will hold before they publish it.
//! For every request a [`Policy`] chooses one of them. The caller passes in what the workers hold, as the [`Matches`]
//! of an index, and tells the router when a request is sent, gets its first token, grows, and finishes. The router has
//! no clock: times are nanoseconds since any moment that the caller chooses, and must not go back.
//!
//! [`Matches`]: crate::index::Matches
//!
//! # One router, one owner
//! A router is plain state behind `&mut`, because decisions must see each other: two requests at the same moment should
//! not both take the last free worker. Look up first, outside of any lock, and keep the router in a mutex; with a
//! thousand workers, a decision holds it for about a microsecond.
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
//! Engines keep blocks in device memory, in host memory and on disk, and loading a block is cheaper than computing it.
//! [`Builder::credits`] sets what a held block saves in each tier. Answers describe the tiers in one of two ways:
//!
//! - One answer for each tier, from an index for each. The simplest case is a router that knows only device memory.
//! - With [`Builder::split_tiers`], one index for all tiers, in which a slower tier of a worker is a worker of its own.
//!   Every answer covers all tiers. There may be several answers about different workers, for instance if engines hash
//!   a prompt in different ways: their union counts.
//!
//! Either way, the depth in a slower tier counts the blocks there *or in a faster one*: a worker with 2 blocks in
//! device memory and the next 3 in host memory has the depths 2 and 5. A block is worth the credit of the fastest tier
//! that has it:
//!
//! ```text
//! credit = sum over the tiers, the fastest first, of
//!          credit of the tier x max(0, depth in it - greatest depth in a faster one)
//! ```
//!
//! Predicted blocks count as blocks in the fastest tier.
//!
//! # Predictions
//! An engine publishes the blocks of a prompt only once they are computed, and until then further requests with the
//! same prompt would go elsewhere. With [`Builder::prediction`], a decision enters the blocks of its prompt into an
//! index of the router's own, and later decisions use whichever is deeper, the answers or the prediction. Real events
//! replace a prediction:
//!
//! - If an answer is as deep as the prediction, or deeper, the answer counts.
//! - [`Prediction::grace_ns`] after a request's first token, its prompt has been computed and published. What it
//!   predicted ends, except for blocks that a later decision has predicted again, and blocks before these.
//! - [`Prediction::ttl_ns`] after the last decision that predicted a block, its prediction ends in any case: the
//!   request was lost.
//! - [`Router::cleared`] and [`Router::remove_worker`] end all predictions for the worker.
//!
//! If engines publish nothing, [`Prediction::instead_of_events`] predicts for as long as a cache of a given size would
//! hold the blocks, from the router's own decisions alone. It does not see the blocks of answers, nor what other
//! routers send.
//!
//! # What is not counted
//! If prompts in flight at one worker share blocks, each is counted as if it had its own. Several routers over one
//! fleet do not see each other's requests.

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
