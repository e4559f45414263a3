//! The writer thread of a shard: drains the mailbox, applies, publishes.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Release};
use std::time::{Duration, Instant};

use flume::{Receiver, Sender, TryRecvError};

use super::builder::Builder;
use super::error::Rejection;
use super::status::{ShardStatus, WorkerStatus, lag_histogram};
use super::writer::Writer;
use crate::event::{Event, Worker};

/// What a writer is asked to do, in the order in which it is asked.
#[derive(Debug)]
pub(crate) enum Message {
    /// Apply an event that was accepted at this time.
    Apply(Event, Instant),
    /// Apply the events of an export, and answer once they are visible.
    Import(Vec<Event>, Sender<Result<(), Rejection>>),
    /// Answer once all that came before is visible.
    Flush(Sender<()>),
    /// Answer with everything, or with what one worker holds.
    Export(Option<Worker>, Sender<Vec<Event>>),
    /// Answer with figures about the shard and its workers.
    Status(Sender<(ShardStatus, Vec<WorkerStatus>)>),
    /// Answer with figures about these workers.
    StatusOf(Vec<Worker>, Sender<Vec<WorkerStatus>>),
    #[cfg(test)]
    Panic,
}

/// The state of a writer thread.
#[derive(Debug)]
pub(crate) struct Actor {
    pub(crate) shard: usize,
    pub(crate) mailbox: Receiver<Message>,
    /// Set when the writer has panicked, so that nobody sends any more.
    dead: Arc<AtomicBool>,
    writer: Writer,
    pin: Option<usize>,
    pinned: Option<usize>,
    interval: Duration,
    batch: u64,
    /// The workers of the events since the last publication, and when these were accepted.
    pending: Vec<(Worker, Instant)>,
    apply_time: Duration,
    publish_time: Duration,
    lag: hdrhistogram::Histogram<u64>,
}

/// How many blocks or events are applied between two looks at the clock. A look costs as much as applying a block.
const CLOCK: usize = 64;

impl Actor {
    pub(crate) fn new(
        shard: usize,
        mailbox: Receiver<Message>,
        dead: Arc<AtomicBool>,
        writer: Writer,
        settings: &Builder,
    ) -> Self {
        Self {
            shard,
            mailbox,
            dead,
            writer,
            pin: (!settings.pin.is_empty()).then(|| settings.pin[shard % settings.pin.len()]),
            pinned: None,
            interval: settings.publish_interval,
            batch: settings.publish_batch,
            pending: Vec::new(),
            apply_time: Duration::ZERO,
            publish_time: Duration::ZERO,
            lag: lag_histogram(),
        }
    }

    /// Works until every sender is gone and the mailbox is empty.
    pub(crate) fn run(mut self) {
        self.pinned = self.pin.filter(|&id| core_affinity::set_for_current(core_affinity::CoreId { id }));
        if self.pin != self.pinned {
            tracing::warn!(shard = self.shard, core = self.pin, "the writer could not be pinned and runs unpinned");
        }
        let work = || {
            while let Ok(message) = self.mailbox.recv() {
                self.drain(message);
                self.writer.catch_up();
            }
        };
        // After a panic only the mailbox is used, so that nobody waits in it for ever.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
            // Pairs with the load in `ShardHandle::with_mailbox`. A sender that still reads `false` puts its message into
            // the mailbox, and the next line drops it there.
            self.dead.store(true, Release);
            while self.mailbox.recv().is_ok() {}
            resume_unwind(panic);
        }
    }

    /// Handles `message` and all that waits behind it. When this returns, the mailbox was empty and everything is visible.
    fn drain(&mut self, message: Message) {
        let mut next = Ok(message);
        let mut since = Instant::now();
        let mut unclocked = 0;
        loop {
            match next {
                Ok(Message::Apply(event, accepted)) => {
                    // A rejection is counted in the worker's status and logged there.
                    let _ = self.writer.apply(&event);
                    self.pending.push((event.worker, accepted));
                    unclocked += 1 + event.data.len();
                    let due = unclocked >= CLOCK && since.elapsed() >= self.interval;
                    if due || self.pending.len() as u64 >= self.batch {
                        since = self.publish(since);
                    }
                    unclocked %= CLOCK;
                }
                Ok(other) => {
                    self.publish(since);
                    self.answer(other);
                    since = Instant::now();
                }
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => {
                    self.publish(since);
                    return;
                }
            }
            next = self.mailbox.try_recv();
        }
    }

    /// Publishes what was applied since `since`, if anything was, and returns the time.
    fn publish(&mut self, since: Instant) -> Instant {
        let applied = Instant::now();
        if self.pending.is_empty() {
            return applied;
        }
        self.writer.publish();
        let visible = Instant::now();
        self.apply_time += applied - since;
        self.publish_time += visible - applied;
        for (worker, accepted) in self.pending.drain(..) {
            self.lag.saturating_record((visible - accepted).as_nanos() as u64);
            self.writer.note_lag(worker, visible - accepted);
        }
        visible
    }

    /// Answers a question. Everything that came before it is visible already. Whoever asked may have gone; then nobody
    /// needs the answer.
    fn answer(&mut self, message: Message) {
        match message {
            Message::Apply(..) => unreachable!("applied by the caller"),
            Message::Import(events, reply) => {
                let result = self.writer.import(&events);
                self.writer.publish();
                let _ = reply.send(result);
            }
            Message::Flush(reply) => {
                let _ = reply.send(());
            }
            Message::Export(worker, reply) => {
                let _ = reply.send(self.writer.export_of(worker));
            }
            Message::Status(reply) => {
                self.writer.catch_up();
                let (status, workers) = self.writer.status();
                let status = ShardStatus {
                    shard: self.shard,
                    pinned: self.pinned,
                    mailbox_depth: self.mailbox.len(),
                    apply_time: self.apply_time,
                    publish_time: self.publish_time,
                    lag: self.lag.clone(),
                    ..status
                };
                let _ = reply.send((status, workers));
            }
            Message::StatusOf(workers, reply) => {
                let _ = reply.send(self.writer.status_of(&workers));
            }
            #[cfg(test)]
            Message::Panic => panic!("asked to panic, by a test"),
        }
    }
}
