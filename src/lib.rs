//! A global index of the key-value blocks that a fleet of LLM inference workers has cached.
//!
//! Inference engines cache the key-value blocks of the prompts they have served. A router that knows which worker holds
//! how much of a new prompt can send it where the least has to be computed again. This crate holds that knowledge:
//! workers' [`Event`]s go in, and for any prompt [`Index::find`] tells how many of its leading blocks each worker
//! holds.
//!
//! # Trade-offs
//! The index is built for many readers beside bursts of writing, and for exact answers. What that costs:
//!
//! - **Answers lag behind.** Events are applied by a writer thread per shard, which publishes snapshots; see
//!   [Consistency](#consistency). A caller that must read its own writes waits with [`Index::flush`], or owns the
//!   writer ([`Builder::build_local`]).
//! - **A thread per shard.** Writers sleep when there is nothing to do. More shards write faster, and make lookups
//!   visit more snapshots; one is the default.
//! - **Fingerprints, not tokens.** Prefixes are told apart by a keyed hash of 64 bits, which errs with a probability of
//!   less than 2^-61 a comparison, by proof; see [Exactness](#exactness). Nothing else is approximate.
//! - **Memory for the writer's bookkeeping.** Every held block has an entry in its worker's map, because removals name
//!   blocks by the engine's own hashes. Lookups never touch these maps.
//! - **Several snapshots.** Readers' tables exist up to three times, and once more for each snapshot that a stalled
//!   reader does not let go of; the per-block arrays behind them are shared.
//!
//! # Quick start
//! ```
//! use kvleap::{Block, BlockHasher, Event, EventData, Index, Matches, Worker};
//!
//! let index = Index::builder().build()?;
//! let hasher = BlockHasher::new(4)?; // tokens per block, as the engines have it
//! let prompt = hasher.hash(&[1, 2, 3, 4, 5, 6, 7, 8, 9]); // two full blocks
//!
//! // Two workers tell what they cached, each under its engine's own sequence hashes.
//! for (id, cached) in [(7, 2), (8, 1)] {
//!     let blocks = prompt[..cached].iter().zip(1000 * id..).map(|(&local, sequence)| Block { sequence, local });
//!     let data = EventData::Stored { parent: None, blocks: blocks.collect() };
//!     index.send(Event { worker: Worker::new(id, 0), id: 1, data })?;
//! }
//! index.flush()?; // only because we look at once
//!
//! let mut matches = Matches::new(); // keep one per thread: warm, a lookup allocates nothing
//! index.find(&prompt, &mut matches);
//! assert_eq!(matches.iter().collect::<Vec<_>>(), [(Worker::new(7, 0), 2), (Worker::new(8, 0), 1)]);
//!
//! let deepest = matches.best().expect("somebody holds the first block");
//! assert_eq!((deepest.depth(), deepest.workers().count()), (2, 1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! From such answers, and from what is in flight, [`route`] chooses the worker.
//!
//! A conversation that grows is hashed as it does, by [`Prompt`]. Who has tokens hashed elsewhere passes those hashes
//! as they are: the index needs only that workers and queries use the same ones.
//!
//! # Exactness
//! **In local hashes**, an answer is exact unless fingerprints of prefixes collide. A fingerprint is a multilinear hash
//! over the field of 2^64 elements, with keys that every index draws for itself from 256 bits of the system's
//! randomness. Two different prefixes of up to 2^21 blocks, whatever their local hashes, of equal length or not, have
//! equal fingerprints with a probability of at most 4 / (2^64 - 1), less than 2^-61. Of an index that ever looks for
//! *q* different prefixes, and ever stores *n*, that makes at most *q n* / 2^62 for a wrong answer at any time: 0.2%
//! for a billion of the one and ten million of the other. The proof is in `src/index/prefix.rs`. It is about prefixes
//! that do not depend on the keys, and answers do not betray these; it takes the expansion of the keys, by `ChaCha20`,
//! for random; and it is not about indexes whose [seed](Builder::seed) is fixed. Where a prefix collides with one that
//! is stored when it is stored itself, that is noticed, counted ([`Rejection::Collision`]), and harms no other.
//!
//! **In tokens**, an answer is exact as far as the local hashes of different blocks differ. By default they are XXH3-64
//! with a public seed ([`hash`]), because other routers compute the same. Among blocks that nobody prepared two are
//! equal with a probability of about 2^-64. But whoever wants to can prepare two blocks of tokens with one local hash,
//! in some 2^32 steps or fewer, and no index can tell them apart, whatever its keys. Where events carry tokens and
//! queries do, too, [`BlockHasher::keyed`] hashes both with a secret, and nobody without it can prepare anything.
//!
//! # Consistency
//! **One shard.** An answer equals what a literal model would say after exactly the first *n* events that the shard
//! accepted, rejected ones among them; [`Watermark::events`] is *n*. It never shows a part of an event. For one reader,
//! *n* never goes back.
//!
//! **Across shards.** Shards are not synchronised: an answer may show a late event of one and not yet an earlier one of
//! another. All blocks of one [`Worker`] are in one shard, so what is said of a worker is as of one moment.
//!
//! **Staleness.** An applied event is visible at once when no other event waits behind it in the shard's mailbox. While
//! more keep arriving, it becomes visible after at most [`Builder::publish_interval`] (or sooner, after
//! [`Builder::publish_batch`] events), plus two things that the writer does not interrupt: up to 64 blocks or events,
//! or one longer event, between two looks at the clock; and the publication itself. A publication costs what changed
//! since the last one. Only where readers hold on to all spare snapshots does it cost a copy of all heads, one cache
//! line per run. Before it is applied, an event waits for those ahead of it, at most [`Builder::mailbox`] of them, and
//! for an import, an export or a status that was asked for earlier. [`ShardStatus::lag`] measures it all, from
//! acceptance to visibility.
//!
//! **Order.** Events that one thread sends are applied in that order, shard by shard. [`Index::flush`] returns when
//! everything accepted before the call, from whichever thread, is visible.
//!
//! **At least.** Of a worker whose stores were rejected for their blocks, an answer can say too little, never too much.
//! Every answer names these workers ([`Matches::incomplete`]), until what was left out is stored again or removed.
//!
//! **Ends.** After [`Index::shutdown`], and after a writer has panicked, lookups go on with the last snapshot;
//! events come back with an error, and [`Index::status`] says which writers have ended.
//!
//! # Features
//! None is on by default: the default build is the embeddable library, without an async runtime.
//!
//! - `baseline`: `baseline::reference`, a literal model of the whole fleet, for tests, and six historic designs to
//!   compare with, behind the trait `baseline::Backend`.
//! - `trace`: reading, analysing and synthesising request traces, plain or compressed with gzip or zstd.
//! - `tokenizer`: prompts and conversations to traces, with Hugging Face tokenizers. Turns on `trace`.
//! - `mock`: a simulated inference engine, which says what a worker with its cache would say.
//! - `replay`: driving an index with a trace or a built-in workload over simulated engines. Turns on `baseline`,
//!   `trace` and `mock`.
//! - `report`: figures as SVG and PNG.
//! - `sim`: a fleet of simulated engines behind a router, and what comes of its policies. Turns on `trace`, `mock` and
//!   `report`.
//! - `sweep`: finding the load that an index can take. Turns on `replay` and `report`.
//! - `figures`: figures that explain the index, from live data. Turns on `sweep`.
//! - `service`: the standalone indexer: engines' events in, answers over HTTP. With `replay`, also a simulated engine
//!   behind sockets.
//! - `cli`: the `kvleap` command. Turns on all of the above.
//!
//! # Limitations
//! - Positions, workers, shards and waiting events are bounded; see [`Builder`]. A query has less than 2^32 blocks.
//! - The index knows one kind of block: no storage tiers, no hybrid cache groups. Its events are Rust values, and
//!   nothing of it is persistent: [`Index::export`] and [`Index::import`] turn the whole state into events and back.
//!   Wire formats, tiers and snapshots in files are the service's.
//! - A held block keeps the positions before it in memory, eight bytes each, even those that nobody holds. Caches that
//!   evict a sequence from its tail never leave such blocks.
//! - A shard remembers 4,096 removed workers. What an older one still says adds it again.
//! - The records of runs are kept for the next ones: their memory is that of the most runs there were at a time.
//! - [`ShardStatus::lag`] is a histogram of the `hdrhistogram` crate, which is thus a public dependency.

pub mod event;
pub mod hash;
pub mod index;
pub mod route;

#[cfg(feature = "baseline")]
pub mod baseline;
#[cfg(feature = "figures")]
pub mod figures;
#[cfg(feature = "mock")]
pub mod mock;
#[cfg(feature = "replay")]
pub mod replay;
#[cfg(feature = "report")]
pub mod report;
#[cfg(feature = "service")]
pub mod service;
#[cfg(feature = "sim")]
pub mod sim;
#[cfg(feature = "sweep")]
pub mod sweep;
#[cfg(any(feature = "report", feature = "trace"))]
mod temporary;
#[cfg(feature = "trace")]
pub mod trace;

pub use event::{Block, Event, EventData, Worker};
pub use hash::{BlockHasher, HashKey, Prompt};
pub use index::{
    Builder, Closed, ConfigError, ImportError, Index, Layer, LocalReader, LocalWriter, MAX_LEFT_OUT, MAX_SHARDS,
    Matches, Rejection, SendError, ShardStatus, Status, TrySendError, Watermark, WorkerStatus,
};

/// The README's examples are tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
