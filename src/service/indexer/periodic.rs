//! Work that is done at intervals, on a thread of its own.

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// A thread that does something every interval, until it is stopped or what it works on is dropped.
#[derive(Debug)]
pub(in crate::service) struct PeriodicTask {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl PeriodicTask {
    pub(in crate::service) fn start<T: Send + Sync + 'static>(
        name: &str,
        target: &Arc<T>,
        interval: Duration,
        work: impl Fn(&T) + Send + 'static,
    ) -> io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        // The thread must not keep alive what it works on: that may be dropped without being shut down.
        let target: Weak<T> = Arc::downgrade(target);
        let run = move || {
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                let Some(target) = target.upgrade() else { return };
                work(&target);
            }
        };
        Ok(Self { stop, thread: thread::Builder::new().name(name.to_owned()).spawn(run)? })
    }

    /// Stops the thread, and returns when the work at hand is done.
    pub(in crate::service) fn stop(self) {
        drop(self.stop);
        // A panic has been reported by the panic hook.
        let _ = self.thread.join();
    }
}
