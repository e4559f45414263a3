//! Events from engines into indexes: subscriptions, replays, sequence numbers, normalising.
//!
//! Each [`Listener`] follows one publisher over ZMQ, on a runtime that is not that of the answers: where a mailbox is
//! full or a snapshot is being taken it waits, reads no further, and so slows its own publisher down and nobody else.

mod dumped;
mod dynamo;
mod feed;
mod listener;
mod normalise;
mod record;
mod replay_request;
mod subscription;

mod sequence;
mod tier_writer;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{self, Handle, Runtime};

pub(super) use dumped::{DumpError, take_dump};
pub use dynamo::{DynamoBlock, DynamoData, DynamoEvent, NumberedEvent, StorageTier};
pub use feed::{Applied, apply, dump, dynamo_events, forget};
pub(super) use feed::{enter, expire, give_up};
pub use listener::Listener;
pub(super) use record::SEATS;
pub use record::{WorkerRecord, WorkerRecords};

use super::Model;
use super::publisher::{Publisher, Resume};

/// Where a publisher is to be heard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Where it publishes: `tcp://host:port` or `ipc://path`.
    pub endpoint: String,
    /// Where it answers for what was missed; without it, what is missed is lost.
    pub replay: Option<String>,
    /// What the topics of its messages begin with. Default empty: all.
    pub topic: String,
    /// Whether the publisher connects here, rather than being connected to.
    pub bind: bool,
}

impl Source {
    /// One rank of an engine with data parallelism, whose ranks use one port after another: the endpoints of rank 0,
    /// each with `rank` added to its port. `None` where there is no port, or not so high a one.
    pub fn of_rank(&self, publisher: u16) -> Option<Self> {
        let shifted = |endpoint: &String| {
            let (address, port) = endpoint.rsplit_once(':')?;
            let port = port.parse::<u16>().ok()?.checked_add(publisher)?;
            Some(format!("{address}:{port}"))
        };
        let replay = match &self.replay {
            None => None,
            Some(endpoint) => Some(shifted(endpoint)?),
        };
        Some(Self { endpoint: shifted(&self.endpoint)?, replay, ..self.clone() })
    }
}

/// How patient to be with publishers, and how much to hold for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Threads that receive, decode and hand over. Default 2.
    pub threads: usize,
    /// How long the blocks of a publisher that disappeared are kept. Default 60 s.
    pub grace: Duration,
    /// How long a publisher may be silent before it is asked whether anything was missed. Default 5 s.
    pub probe: Duration,
    /// How long a publisher that cannot be asked may be silent before the connection is made anew, for it may be half
    /// open. Default 60 s.
    pub silence: Duration,
    /// How long a replay may pause before it counts as unanswered. Default 5 s.
    pub replay_timeout: Duration,
    /// Replays without progress before what is missing counts as lost. Default 3.
    pub replay_attempts: u32,
    /// Live batches held during a replay; later ones are left to the next replay. Default 16,384.
    pub held_batches: usize,
    /// Their bytes. Default 64 MiB.
    pub held_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            threads: 2,
            grace: Duration::from_secs(60),
            probe: Duration::from_secs(5),
            silence: Duration::from_secs(60),
            replay_timeout: Duration::from_secs(5),
            replay_attempts: 3,
            held_batches: 1 << 14,
            held_bytes: 64 << 20,
        }
    }
}

/// The threads that listen.
#[derive(Debug)]
pub struct Ingest {
    runtime: Runtime,
    settings: Arc<Settings>,
}

impl Ingest {
    /// Starts the threads.
    ///
    /// # Errors
    /// The system has no more threads.
    pub fn start(settings: Settings) -> io::Result<Self> {
        let threads = settings.threads.max(1);
        let mut runtime = runtime::Builder::new_multi_thread();
        runtime.worker_threads(threads).thread_name("kvleap-ingest").enable_all();
        Ok(Self { runtime: runtime.build()?, settings: Arc::new(settings) })
    }

    /// Follows a publisher, whose batches go to `model` and whose state to `rank`, from its first batch on, or from
    /// where a snapshot left it.
    pub fn listen(
        &self,
        source: Source,
        model: Arc<Model>,
        publisher: Arc<Publisher>,
        resume: Option<Resume>,
    ) -> Listener {
        if let Some(resume) = resume {
            publisher.resume(resume);
        }
        Listener::spawn(self.runtime.handle(), source, model, publisher, Arc::clone(&self.settings))
    }

    pub(super) fn handle(&self) -> &Handle {
        self.runtime.handle()
    }

    /// Ends the threads, without waiting for listeners that were not stopped.
    pub fn shutdown(self) {
        self.runtime.shutdown_background();
    }
}
