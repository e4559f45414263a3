//! A global index of the key-value blocks that a fleet of LLM inference workers has cached.
//!
//! Inference engines cache the key-value blocks of the prompts that they have served. A router that knows which worker
//! holds how much of a new prompt can send it to the worker that has to compute the least. This crate keeps that
//! knowledge: the workers' [`Event`]s go in, and for any prompt [`Index::find`] returns how many of its leading blocks
//! each worker holds.
//!
//! # Trade-offs
//! The index is built for many readers beside bursts of writing, and for exact answers. This is what that costs:
//!
//! - **Answers lag behind.** A writer thread per shard applies events and publishes snapshots; see
//!   [Consistency](#consistency). If you must read your own writes, wait with [`Index::flush`], or own the writer
//!   ([`Builder::build_local`]).
//! - **A thread per shard.** It sleeps when there is nothing to do. More shards write faster, but a lookup visits all of
//!   them. One is the default.
//! - **Fingerprints, not tokens.** The index compares prefixes by a keyed hash of 64 bits, which errs with a probability
//!   of less than 2^-61 per comparison, by proof; see [Exactness](#exactness). Nothing else is approximate.
//! - **Memory for the writer's bookkeeping.** Every held block has an entry in its worker's map, because removals name
//!   blocks by the engine's own hashes. Lookups never touch these maps.
//! - **Several snapshots.** The readers' tables exist up to three times, and once more for each snapshot that a stalled
//!   reader holds on to. The position arrays behind them are shared.
//!
//! # Quick start
//! ```
//! use kvleap::{Block, BlockHasher, Event, EventData, Index, Matches, Worker};
//!
//! let index = Index::builder().build()?;
//! let hasher = BlockHasher::new(4)?; // tokens per block, as the engines have it
//! let prompt = hasher.hash(&[1, 2, 3, 4, 5, 6, 7, 8, 9]); // two full blocks
//!
//! // Two workers report what they cached, each under its engine's own sequence hashes.
//! for (id, cached) in [(7, 2), (8, 1)] {
//!     let blocks = prompt[..cached].iter().zip(1000 * id..).map(|(&local, sequence)| Block { sequence, local });
//!     let data = EventData::Stored { parent: None, blocks: blocks.collect() };
//!     index.send(Event { worker: Worker::new(id, 0), id: 1, data })?;
//! }
//! index.flush()?; // only because this example looks at once
//!
//! let mut matches = Matches::new(); // keep one per thread: once warm, a lookup allocates nothing
//! index.find(&prompt, &mut matches);
//! assert_eq!(matches.iter().collect::<Vec<_>>(), [(Worker::new(7, 0), 2), (Worker::new(8, 0), 1)]);
//!
//! let deepest = matches.best().expect("some worker holds the first block");
//! assert_eq!((deepest.depth(), deepest.workers().count()), (2, 1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`route`] chooses a worker from such answers and from what is in flight. [`Prompt`] hashes a conversation as it grows.
//! If your tokens are hashed elsewhere, pass those hashes: the index only needs workers and queries to use the same ones.
//!
//! # Async callers
//! - [`Index::find`] takes no lock, awaits nothing and mostly takes less than a few microseconds, so call it right in
//!   the handler, without `spawn_blocking`.
//! - [`Index::try_send`] never waits. [`Index::send`] blocks the thread while the mailbox is full, so use it on threads
//!   of your own, or ask [`Index::has_room`] first.
//! - [`Index::flush`], [`Index::status`], [`Index::export`], [`Index::import`] and [`Index::shutdown`] wait for writer
//!   threads. Call them from `spawn_blocking`.
//! - A [`Matches`] is `Send`. Under a work-stealing executor, a `thread_local!` buffer serves every handler that does not
//!   await while it uses it; otherwise let each task own one, or take one from a pool. [`Layer`]s and iterators borrow
//!   it, so copy out what you need before the next lookup.
//!
//! # Glossary
//! - **Block**: a fixed number of tokens, the unit of caching.
//! - **Local hash**: the hash of one block's tokens alone. Queries are made of local hashes.
//! - **Sequence hash**: an engine's own name for a block under its whole prefix. The index never recomputes it.
//! - **Worker**: an engine instance and a data-parallel rank: one cache.
//! - **Position**: the index of a block in its sequence, from 0.
//! - **Prefix hash**: the index's own 64-bit fingerprint of the local hashes up to a position.
//! - **Run**: a chain of blocks that the index stores as one array of prefix hashes, its *position array*. Where a
//!   sequence leaves a run, the rest of it is another run.
//! - **Head**: the first prefix hash of a run, and the cache line by which readers find the run.
//! - **Cutoff**: how many leading blocks of a run a worker holds without a hole. A run has one array, whoever holds how
//!   much of it.
//! - **Layer**: the workers that hold equally many leading blocks of one query. Answers are layers, deepest first.
//! - **Snapshot**: the immutable state of a shard that readers see. The writer publishes a new one after every few events.
//! - **Watermark**: how many of a shard's events an answer reflects.
//! - **Shard**: a writer thread and its part of the workers.
//! - **Publisher**: whoever sends one stream of events to the service: a data-parallel rank of an engine, or its offloading
//!   connector.
//! - **Tier**: device memory, host memory or disk, in the service and in [`route`].
//!
//! # Exactness
//! **In local hashes**, an answer is exact unless prefix hashes collide. A prefix hash is multilinear over the field of
//! 2^64 elements, with keys that every index draws from 256 bits of the system's randomness. Two different prefixes of up
//! to 2^21 blocks, whatever their local hashes, of equal length or not, have equal prefix hashes with a probability of at
//! most 4 / (2^64 - 1), less than 2^-61. For an index that ever looks for *q* different prefixes, and ever stores *n*, the
//! probability that any answer is wrong is at most *q n* / 2^62: 0.2% for a billion and ten million. The proof is in
//! `src/index/shared/prefix.rs`. It assumes that the prefixes do not depend on the keys, which answers do not reveal, and
//! that the keys, which `ChaCha20` expands, are random. It does not hold for an index with a fixed
//! [seed](Builder::seed). When a prefix is stored that collides with a stored one, the index notices, counts it
//! ([`Rejection::Collision`]), and harms no other prefix.
//!
//! **In tokens**, an answer is exact as long as different blocks have different local hashes. By default these are XXH3-64
//! with a public seed ([`hash`]), like those of other routers. Two blocks that nobody prepared have equal local hashes
//! with a probability of about 2^-64. But anybody who can choose tokens freely can prepare two blocks with equal local
//! hashes, which no index can tell apart, whatever its keys. If both events and queries carry tokens,
//! [`BlockHasher::keyed`] hashes them with a secret, and nobody without it can prepare such blocks.
//!
//! # Consistency
//! **One shard.** An answer equals what a literal model would say after exactly the first *n* events that the shard
//! accepted, rejected ones among them; [`Watermark::events`] is *n*. It never shows a part of an event. For one reader,
//! *n* never goes back.
//!
//! **Across shards.** Shards are not synchronised: an answer may show a late event of one shard and not yet an earlier
//! event of another. All blocks of one [`Worker`] are in one shard, so what an answer says of a worker is as of one moment.
//!
//! **Staleness.** When no other event waits in the shard's mailbox, an applied event is visible at once. While more
//! events keep arriving, it becomes visible after at most [`Builder::publish_interval`] (100 µs by default) or
//! [`Builder::publish_batch`] events (256 by default), plus two things that the writer does not interrupt: up to 64
//! blocks or events, or one longer event, between two looks at the clock; and the publication itself. What was applied
//! before an event of 256 blocks or more is published first, and does not wait for it. A publication costs what changed
//! since the last one; only if readers hold on to all spare snapshots does it copy all heads, one cache line per run.
//! Before it is applied, an event waits for those ahead of it, at most [`Builder::mailbox`] of them with
//! [`Builder::mailbox_bytes`] of memory, and for imports, exports and statuses that were asked for earlier.
//! [`ShardStatus::lag`] measures all of it, from acceptance to visibility.
//!
//! **Order.** Events that one thread sends are applied in that order, shard by shard. [`Index::flush`] returns when
//! everything that any thread sent before the call is visible.
//!
//! **At least.** If the index had to reject a store of a worker, answers can be too small for that worker, never too
//! large. Every answer names these workers ([`Matches::incomplete`]), until the blocks that were left out are stored again
//! or removed.
//!
//! **The end.** After [`Index::shutdown`], and after a writer has panicked, lookups go on with the last snapshot. Events
//! are handed back with an error, and [`Index::status`] says which writers have ended.
//!
//! # Features
//! None is on by default: the default build is the embeddable library, without an async runtime.
//!
//! - `baseline`: `baseline::reference`, a literal model of the whole fleet, for tests, and six historic designs to
//!   compare with, behind the trait `baseline::Backend`.
//! - `trace`: reading, analysing and synthesising request traces, plain or compressed with gzip or zstd.
//! - `tokenizer`: prompts and conversations to traces, with Hugging Face tokenizers. Turns on `trace`.
//! - `mock`: a simulated inference engine, which sends the events that a worker with its cache would send.
//! - `replay`: driving an index with a trace or a built-in workload over simulated engines. Turns on `baseline`,
//!   `trace` and `mock`.
//! - `report`: figures as SVG and PNG.
//! - `sim`: a fleet of simulated engines behind a router, to compare policies. Turns on `trace`, `mock` and `report`.
//! - `sweep`: finding the load that an index can take. Turns on `replay` and `report`.
//! - `figures`: figures that explain the index, from live data. Turns on `sweep`.
//! - `service`: the standalone indexer: engines' events in, answers over HTTP. With `replay`, also a simulated engine
//!   behind sockets.
//! - `command`: the `kvleap` command, with a subcommand for every library feature that is on.
//! - `cli`: all of the above.
//!
//! # Limitations
//! - Positions, workers, shards and waiting events are bounded; see [`Builder`]. A query has fewer than 2^32 blocks.
//! - A process that was forked off has no writers: an index that was built before the fork answers lookups there and
//!   nothing else. Build it afterwards; see [`Index`].
//! - The index knows one kind of block: no storage tiers, no hybrid cache groups. Its events are Rust values, and it keeps
//!   nothing on disk: [`Index::export`] and [`Index::import`] turn the whole state into events and back. Wire formats,
//!   tiers and snapshot files belong to the service.
//! - A held block keeps the positions before it in memory, eight bytes each, even if nobody holds those. Caches that evict
//!   a sequence from its tail never leave such blocks.
//! - A shard remembers 4,096 removed workers. A late event of an older one adds it again.
//! - The records of runs are reused but not freed: they take the memory of the largest number of runs so far.
//! - [`ShardStatus::lag`] is a histogram of the `hdrhistogram` crate, which is therefore a public dependency.

#![cfg_attr(docsrs, feature(doc_cfg))]

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
#[cfg(any(feature = "report", feature = "service", feature = "trace"))]
pub mod temporary;
#[cfg(feature = "trace")]
pub mod trace;

pub use event::{Block, Event, EventData, Worker};
pub use hash::{BlockHasher, HashKey, Prompt};
pub use index::{
    Builder, Closed, ConfigError, ImportError, Index, Layer, MAX_LEFT_OUT, MAX_SHARDS, Matches, Reader, Rejection,
    SendError, ShardStatus, Status, TrySendError, Watermark, WorkerStatus, Writer,
};

/// The README's examples are tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
