//! A mock engine that publishes: [`mock::Engine`](crate::mock::Engine)s behind real sockets, in vLLM's wire format.
//!
//! Every rank plays the [built-in workload](crate::replay::Workload), says what its cache stores and evicts, and answers
//! for what was missed, as far back as its buffer goes. A number of batches can be left unsaid, to see that they are
//! asked for. What the engine itself holds is written to a file, for whoever judges the answers of an index.

mod encode;
mod error;
mod rank;
mod sockets;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::runtime::{self, Runtime};
use tokio::time::interval;

pub use encode::Form;
pub use error::PublishError;
use rank::Rank;
pub use rank::tokens;

use super::ingest::Source;
use sockets::Sockets;

/// What to publish, where, and how badly.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Where rank 0 publishes; the others use the ports after it. Default `tcp://127.0.0.1:5557`.
    pub endpoint: String,
    /// Where rank 0 answers for what was missed. Default `tcp://127.0.0.1:5657`; without one, nobody can ask.
    pub replay: Option<String>,
    /// The topic of all messages. Default empty.
    pub topic: String,
    /// How events look. Default [`Form::Map`].
    pub form: Form,
    /// Data-parallel ranks. Default 1.
    pub ranks: u16,
    /// Tokens in a block. Default 16.
    pub block_size: u32,
    /// Blocks that a rank can hold. Default 4,096.
    pub blocks: u32,
    /// Requests that a rank serves in a second. Default 10.
    pub rate: f64,
    /// Requests that a rank serves in all. Default: no end.
    pub requests: Option<u64>,
    /// The share of the batches that are not said, but can be asked for. Default 0.
    pub drop: f64,
    /// Batches that can be asked for. Default 10,000.
    pub buffer_steps: usize,
    /// Of workload, names of blocks, and drops. Default 0.
    pub seed: u64,
    /// Where to write what the engine holds, when it is paused and when it ends. Default: nowhere.
    pub state: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            endpoint: "tcp://127.0.0.1:5557".to_owned(),
            replay: Some("tcp://127.0.0.1:5657".to_owned()),
            topic: String::new(),
            form: Form::Map,
            ranks: 1,
            block_size: 16,
            blocks: 4096,
            rate: 10.0,
            requests: None,
            drop: 0.0,
            buffer_steps: 10_000,
            seed: 0,
            state: None,
        }
    }
}

impl Options {
    fn check(&self) -> Result<(), PublishError> {
        let counts =
            [("ranks", u64::from(self.ranks)), ("block_size", self.block_size.into()), ("blocks", self.blocks.into())];
        if let Some(&(setting, _)) = counts.iter().find(|(_, count)| *count == 0) {
            return Err(PublishError::Zero { setting });
        }
        let rate = self.rate.is_finite() && self.rate > 0.0 && Duration::try_from_secs_f64(1.0 / self.rate).is_ok();
        if !rate || self.period().is_zero() {
            return Err(PublishError::OutOfRange { setting: "rate", value: self.rate });
        }
        if !(0.0..=1.0).contains(&self.drop) {
            return Err(PublishError::OutOfRange { setting: "drop", value: self.drop });
        }
        // Before any port is bound.
        self.source(self.ranks - 1).map(drop)
    }

    fn period(&self) -> Duration {
        Duration::from_secs_f64(1.0 / self.rate)
    }

    fn source(&self, rank: u16) -> Result<Source, PublishError> {
        let source = Source { endpoint: self.endpoint.clone(), replay: self.replay.clone(), ..Source::default() };
        if rank == 0 { Some(source) } else { source.of_rank(rank) }.ok_or(PublishError::NoPort { rank })
    }
}

/// What an engine holds, rank by rank: what an index should say of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineState {
    /// Tokens in a block.
    pub block_size: u32,
    /// By data-parallel rank.
    pub ranks: Vec<RankState>,
}

/// What one rank holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RankState {
    /// Batches so far.
    pub batches: u64,
    /// In no particular order.
    pub blocks: Vec<BlockState>,
}

/// A block that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockState {
    /// The engine's name for it.
    pub sequence: u64,
    /// That of the block before it.
    pub parent: Option<u64>,
    /// The hash of its tokens.
    pub local: u64,
}

/// What was published so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Batches, those left unsaid among them.
    pub batches: u64,
    /// Batches left unsaid.
    pub dropped: u64,
    /// Blocks stored and removed.
    pub blocks: u64,
}

/// A mock engine that publishes until it is stopped.
#[derive(Debug)]
pub struct MockPublisher {
    options: Options,
    ranks: Vec<Arc<Mutex<Rank>>>,
    paused: Arc<AtomicBool>,
    runtime: Runtime,
}

impl MockPublisher {
    /// Begins. All sockets are bound when it returns.
    ///
    /// # Errors
    /// Options out of range, and endpoints that cannot be bound.
    pub fn start(options: Options) -> Result<Self, PublishError> {
        options.check()?;
        let mut runtime = runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).thread_name("kvleap-publish").enable_all().build();
        let runtime = runtime.map_err(PublishError::Thread)?;
        let paused = Arc::new(AtomicBool::new(false));
        let mut ranks = Vec::new();
        for number in 0..options.ranks {
            let rank = Arc::new(Mutex::new(Rank::new(&options, number)));
            let source = options.source(number)?;
            let mut sockets = runtime.block_on(Sockets::bind(&source)).map_err(PublishError::Bind)?;
            sockets.answer(&runtime, options.topic.clone(), Arc::clone(&rank));
            runtime.spawn(serve(options.clone(), Arc::clone(&rank), sockets, Arc::clone(&paused)));
            ranks.push(rank);
        }
        Ok(Self { options, ranks, paused, runtime })
    }

    /// Serves no more requests. What was said can still be asked for.
    ///
    /// # Errors
    /// The state cannot be written.
    pub fn pause(&self) -> Result<(), PublishError> {
        self.paused.store(true, Relaxed);
        let Some(path) = &self.options.state else { return Ok(()) };
        let ranks = self.ranks.iter().map(|rank| lock(rank).state()).collect();
        let state = EngineState { block_size: self.options.block_size, ranks };
        let failed = |source| PublishError::State { path: path.clone(), source };
        // Whoever waits for the file finds it complete.
        let part = path.with_extension("part");
        let bytes = serde_json::to_vec(&state).map_err(|error| failed(error.into()))?;
        std::fs::write(&part, bytes).and_then(|()| std::fs::rename(&part, path)).map_err(failed)
    }

    /// Pauses, and ends.
    ///
    /// # Errors
    /// Those of [`pause`](Self::pause).
    pub fn stop(self) -> Result<(), PublishError> {
        let paused = self.pause();
        self.runtime.shutdown_background();
        paused
    }

    /// Whether all requests that were asked for are served.
    pub fn is_done(&self) -> bool {
        self.ranks.iter().all(|rank| lock(rank).is_done())
    }

    /// What was published so far, by all ranks.
    pub fn said(&self) -> Said {
        self.ranks.iter().map(|rank| lock(rank).said).fold(Said::default(), |sum, said| Said {
            batches: sum.batches + said.batches,
            dropped: sum.dropped + said.dropped,
            blocks: sum.blocks + said.blocks,
        })
    }
}

fn lock(rank: &Mutex<Rank>) -> MutexGuard<'_, Rank> {
    rank.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One request after another.
async fn serve(options: Options, rank: Arc<Mutex<Rank>>, mut sockets: Sockets, paused: Arc<AtomicBool>) {
    let mut tick = interval(options.period());
    loop {
        tick.tick().await;
        let batches = {
            let mut rank = lock(&rank);
            // Looked at while the rank is locked: once it is paused and was locked, nothing more is said.
            if paused.load(Relaxed) || rank.is_done() { Vec::new() } else { rank.serve() }
        };
        for (sequence, batch) in batches {
            sockets.say(&options.topic, sequence, batch).await;
        }
    }
}
