//! A thread that applies events, with the queue in which they wait, for actors and pools.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::model::Model;
use crate::event::Event;

/// What the thread is told to do, in this order.
#[derive(Debug)]
pub(super) enum Message {
    Apply(Event),
    /// Reply when everything before is applied.
    Flush(Sender<()>),
}

/// The owner's half. Dropping it drops the events that wait, ends the thread, and waits for its end.
#[derive(Debug)]
pub(super) struct Thread {
    // Fields are dropped in this order: the queue must be gone before `End` waits for the thread.
    queue: Sender<Message>,
    progress: Arc<Progress>,
    _end: End,
}

/// What both halves read. Relaxed loads and stores suffice: one is a count, the other a hint, and whoever flushes is
/// ordered by the reply.
#[derive(Debug, Default)]
pub(super) struct Progress {
    rejected: AtomicU64,
    stopping: AtomicBool,
}

#[derive(Debug)]
struct End {
    progress: Arc<Progress>,
    thread: Option<JoinHandle<()>>,
}

impl Thread {
    /// Starts a thread that runs `work`, on the core `pin` if there is one. At most `bound` messages wait, or any number
    /// without it. `work` must return when the queue is closed.
    pub(super) fn start(
        name: String,
        bound: Option<usize>,
        pin: Option<usize>,
        work: impl FnOnce(&Receiver<Message>, &Progress) + Send + 'static,
    ) -> io::Result<Self> {
        let (queue, messages) = bound.map_or_else(unbounded, bounded);
        let progress = Arc::<Progress>::default();
        let shared = Arc::clone(&progress);
        let thread = std::thread::Builder::new().name(name.clone()).spawn(move || {
            if pin.is_some_and(|id| !core_affinity::set_for_current(core_affinity::CoreId { id })) {
                tracing::warn!(thread = name, core = pin, "the thread could not be pinned and runs unpinned");
            }
            work(&messages, &shared);
        })?;
        Ok(Self { queue, progress: Arc::clone(&progress), _end: End { progress, thread: Some(thread) } })
    }

    /// Hands an event over, and waits while the queue is full.
    pub(super) fn apply(&self, event: Event) {
        self.queue.send(Message::Apply(event)).expect("the thread outlives its owner, unless it panicked");
    }

    /// Returns a receiver that gets a message when everything that was handed over is applied.
    pub(super) fn flush(&self) -> Receiver<()> {
        let (done, wait) = bounded(1);
        self.queue.send(Message::Flush(done)).expect("the thread outlives its owner, unless it panicked");
        wait
    }

    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn rejected(&self) -> u64 {
        self.progress.rejected.load(Relaxed)
    }
}

impl Progress {
    /// Does what a message says. Returns whether to go on.
    pub(super) fn handle(&self, message: Message, model: &mut impl Model) -> bool {
        match message {
            Message::Apply(event) => {
                self.rejected.fetch_add(u64::from(model.apply(&event).is_err()), Relaxed);
            }
            // The send fails only if the caller has gone away, and needs no answer.
            Message::Flush(done) => drop(done.send(())),
        }
        !self.stopping.load(Relaxed)
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.progress.stopping.store(true, Relaxed);
        // If the thread panicked, it has reported that itself.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::baseline::model::Admitted;
    use crate::baseline::nested::Nested;
    use crate::event::{EventData, Worker};

    #[test]
    fn dropping_the_owner_ends_the_thread_whatever_waits() {
        let (end, ended) = bounded(1);
        let thread = Thread::start("test".to_owned(), None, None, move |messages, progress| {
            let mut model = Admitted::<Nested>::default();
            while !progress.stopping.load(Relaxed) {
                std::thread::yield_now();
            }
            while messages.recv().is_ok_and(|message| progress.handle(message, &mut model)) {}
            end.send(messages.len()).expect("there is room for one");
        });
        let thread = thread.expect("a thread can be started");
        for id in 0..1000 {
            thread.apply(Event { worker: Worker::new(1, 0), id, data: EventData::Cleared });
        }
        assert_eq!(thread.queued(), 1000);
        drop(thread);
        assert_eq!(ended.try_recv(), Ok(999), "the drop has waited for the end, and not for what was queued");
    }
}
