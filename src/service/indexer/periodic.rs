//! Work that is done at intervals, on a thread of its own.

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::service::priority::give_way;

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
        let task = name.to_owned();
        let run = move || {
            give_way();
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                let Some(target) = target.upgrade() else { return };
                // What was at hand is lost, and what the panic left is guarded by locks that survive one. Without a
                // next time, snapshots would end unnoticed.
                if panic::catch_unwind(AssertUnwindSafe(|| work(&target))).is_err() {
                    tracing::error!(task, "periodic work panicked, and is tried again");
                }
            }
        };
        Ok(Self { stop, thread: thread::Builder::new().name(name.to_owned()).spawn(run)? })
    }

    /// Stops the thread, and returns when the work at hand is done.
    pub(in crate::service) fn stop(self) {
        drop(self.stop);
        // It does not panic.
        let _ = self.thread.join();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn work_that_panics_is_tried_again() {
        let (done, times) = mpsc::channel();
        let target = Arc::new(Mutex::new(done));
        let work = |done: &Mutex<Sender<()>>| {
            done.lock().expect("nobody panics with it").send(()).expect("the test waits");
            panic!("as it does every time");
        };
        let task = PeriodicTask::start("kvleap-test", &target, Duration::from_millis(1), work).expect("a thread");
        assert!((0..3).all(|_| times.recv().is_ok()));
        task.stop();
    }
}
