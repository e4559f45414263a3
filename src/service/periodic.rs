//! Work that the service does now and again.

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::indexer::Indexer;

/// A thread that does something every interval, for as long as there is an indexer.
#[derive(Debug)]
pub(super) struct Periodic {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Periodic {
    pub(super) fn start(
        name: &str,
        indexer: &Arc<Indexer>,
        interval: Duration,
        work: impl Fn(&Indexer) + Send + 'static,
    ) -> io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        // An indexer that is dropped without an end drops the other side of the channel.
        let indexer: Weak<Indexer> = Arc::downgrade(indexer);
        let run = move || {
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                let Some(indexer) = indexer.upgrade() else { return };
                work(&indexer);
            }
        };
        Ok(Self { stop, thread: thread::Builder::new().name(name.to_owned()).spawn(run)? })
    }

    /// Returns when the work at hand is done.
    pub(super) fn stop(self) {
        drop(self.stop);
        // A panic has been reported by the panic hook.
        let _ = self.thread.join();
    }
}
