//! A mock engine that publishes: [`mock::Engine`](crate::mock::Engine)s behind real sockets, in vLLM's wire format.
//!
//! Every rank plays the [built-in workload](crate::replay::Workload), publishes what its cache stores and evicts, and
//! answers requests for replays as far back as its buffer goes. Some batches can be dropped, to see that they are asked
//! for. What the engine itself holds is written to a file, so that a test can compare it with the answers of an index.

mod encode;
mod error;
mod options;
mod rank;
mod sockets;
mod state;

use std::io::{self, BufWriter};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use tokio::runtime::{self, Runtime};
use tokio::time::interval;

use crate::temporary;
pub use encode::{Form, tokens};
pub use error::PublishError;
pub use options::Options;
use rank::{Rank, lock};
use sockets::Sockets;
pub use state::{BlockState, EngineState, Published, RankState};

/// A mock engine that publishes until it is stopped.
#[derive(Debug)]
pub struct MockPublisher {
    options: Options,
    ranks: Vec<Arc<Mutex<Rank>>>,
    paused: Arc<AtomicBool>,
    runtime: Runtime,
}

impl MockPublisher {
    /// Starts publishing. All sockets are bound when this returns.
    ///
    /// # Errors
    /// An option is out of range, or an endpoint cannot be bound.
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

    /// Stops serving requests, and writes the state. Replays are still answered.
    ///
    /// # Errors
    /// The state cannot be written.
    pub fn pause(&self) -> Result<(), PublishError> {
        self.paused.store(true, Relaxed);
        let Some(path) = &self.options.state else { return Ok(()) };
        let ranks = self.ranks.iter().map(|rank| lock(rank).state()).collect();
        let state = EngineState { block_size: self.options.block_size, ranks };
        let failed = |source| PublishError::State { path: path.clone(), source };
        write_whole(path, &state).map_err(failed)
    }

    /// Pauses, and shuts down.
    ///
    /// # Errors
    /// Those of [`pause`](Self::pause).
    pub fn stop(self) -> Result<(), PublishError> {
        let paused = self.pause();
        self.runtime.shutdown_background();
        paused
    }

    /// Whether all requests were served.
    pub fn is_done(&self) -> bool {
        self.ranks.iter().all(|rank| lock(rank).is_done())
    }

    /// Returns the totals of what all ranks have published so far.
    pub fn published(&self) -> Published {
        self.ranks.iter().map(|rank| lock(rank).published).fold(Published::default(), |sum, of_rank| Published {
            batches: sum.batches + of_rank.batches,
            dropped: sum.dropped + of_rank.dropped,
            blocks: sum.blocks + of_rank.blocks,
        })
    }
}

/// Writes the state as JSON. Whoever waits for the file finds it complete.
fn write_whole(path: &Path, state: &EngineState) -> io::Result<()> {
    let mut file = BufWriter::new(temporary::beside(path)?);
    serde_json::to_writer(&mut file, state)?;
    file.into_inner()?.persist(path)?;
    Ok(())
}

/// Serves one request after another.
async fn serve(options: Options, rank: Arc<Mutex<Rank>>, mut sockets: Sockets, paused: Arc<AtomicBool>) {
    let mut tick = interval(options.period());
    loop {
        tick.tick().await;
        let batches = {
            let mut rank = lock(&rank);
            // Checked under the lock of the rank: once `pause` has set the flag and locked the rank, nothing more is
            // published.
            if paused.load(Relaxed) || rank.is_done() { Vec::new() } else { rank.serve() }
        };
        for (sequence, batch) in batches {
            sockets.publish(&options.topic, sequence, batch).await;
        }
    }
}
