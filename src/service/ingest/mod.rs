//! From an engine's messages to events of the index: subscriptions, replays, sequence numbers, normalising.
//!
//! Each [`Listener`] follows one publisher over ZMQ. Listeners run on threads other than those of the server: if a
//! mailbox is filling up or a snapshot is being taken, a listener waits and reads no further, which slows its own
//! publisher down and nothing else. It occupies no thread while it waits, so there are as many threads as are set.

mod binding;
mod change;
mod dumped;
mod dynamo;
mod feed;
mod follower;
mod listener;
mod membership;
mod normalise;
mod replay_request;
mod sequence;
mod settings;
mod subscription;
mod tier_writer;
mod trouble;
mod worker_feed;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{self, Handle, Runtime};

pub(super) use dumped::{DumpError, take_dump};
pub(super) use dynamo::dump;
#[doc(hidden)] // Public only for tests and fuzz targets, which feed an index without a server.
pub use dynamo::{Applied, DynamoBlock, DynamoData, DynamoEvent, NumberedEvent, StorageTier, dynamo_events};
#[doc(hidden)] // Public only for tests, fuzz targets and benches, which feed an index without sockets.
pub use feed::apply;
pub use listener::Listener;
pub(super) use membership::{enter, enter_over_http, forget, forget_unheard, give_up};
pub use settings::{Settings, Source};

use binding::Bindings;
use sequence::Room;

use crate::service::models::Model;
use crate::service::priority::give_way;
use crate::service::publisher::{Publisher, Resume};
use crate::service::zmtp::{Limits, Memory};

/// The threads that listeners run on.
#[derive(Debug)]
pub struct Ingest {
    runtime: Runtime,
    shared: Arc<Shared>,
}

/// What all listeners share.
#[derive(Debug)]
struct Shared {
    settings: Arc<Settings>,
    limits: Limits,
    bindings: Bindings,
    /// The room for batches that are held during replays.
    room: Arc<Room>,
}

/// How long a message may take to arrive, from its first frame on.
const MESSAGE: Duration = Duration::from_secs(10);

impl Ingest {
    /// Starts the threads.
    ///
    /// # Errors
    /// The operating system has no more threads.
    pub fn start(settings: Settings) -> io::Result<Self> {
        let threads = settings.threads.max(1);
        let mut runtime = runtime::Builder::new_multi_thread();
        runtime.worker_threads(threads).thread_name("kvleap-ingest").on_thread_start(give_way).enable_all();
        let memory = Memory::new(settings.memory);
        let limits = Limits { message: settings.message_bytes, patience: MESSAGE, memory };
        let bindings = Bindings::new(limits.clone());
        let room = Arc::new(Room::new(settings.memory / 2));
        let shared = Shared { settings: Arc::new(settings), limits, bindings, room };
        Ok(Self { runtime: runtime.build()?, shared: Arc::new(shared) })
    }

    /// Follows a publisher: its batches go to `model` and its state to `publisher`. It is followed from where a
    /// snapshot left it, or from its first batch on.
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
        Listener::spawn(self.runtime.handle(), source, model, publisher, Arc::clone(&self.shared))
    }

    /// Returns how many bytes of messages are in memory.
    pub(super) fn bytes(&self) -> usize {
        self.shared.limits.memory.used()
    }

    pub(super) fn handle(&self) -> &Handle {
        self.runtime.handle()
    }

    /// Ends the threads, without waiting for listeners that were not stopped.
    pub fn shutdown(self) {
        self.runtime.shutdown_background();
    }
}
