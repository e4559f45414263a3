//! The writer thread of a shard: drains the mailbox, applies, publishes.

use std::collections::VecDeque;
use std::hint::spin_loop;
use std::mem::take;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use flume::Sender;

use super::builder::Builder;
use super::error::Rejection;
use super::mailbox::{Mailbox, Room};
use super::status::{ShardStatus, WorkerStatus, lag_histogram};
use super::writer::Writer;
use crate::event::{Block, Event, EventData, Worker};

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

impl Message {
    /// Returns the room that it takes in a mailbox: its events, and the memory that it holds. Questions take none.
    #[inline]
    pub(crate) fn room(&self) -> Room {
        match self {
            Self::Apply(event, _) => Room { events: 1, bytes: size_of::<Self>() + heap_bytes(event) },
            Self::Import(events, _) => Room {
                events: events.len(),
                bytes: events.capacity() * size_of::<Event>() + events.iter().map(heap_bytes).sum::<usize>(),
            },
            _ => Room::default(),
        }
    }
}

/// Returns how many bytes an event holds on the heap.
#[inline]
fn heap_bytes(event: &Event) -> usize {
    match &event.data {
        EventData::Stored { blocks, .. } => blocks.capacity() * size_of::<Block>(),
        EventData::Removed { blocks } => blocks.capacity() * size_of::<u64>(),
        EventData::Cleared | EventData::WorkerRemoved | EventData::WorkerAdded | EventData::CopiesCounted => 0,
    }
}

/// The state of a writer thread.
#[derive(Debug)]
pub(crate) struct Actor {
    pub(crate) shard: usize,
    mailbox: Arc<Mailbox<Message>>,
    /// Messages that were taken out of the mailbox and not handled yet.
    taken: VecDeque<Message>,
    /// The room of the messages that were handled since the last publication.
    handled: Room,
    writer: Writer,
    pin: Option<usize>,
    pinned: Option<usize>,
    /// Whether no other writer of the index is to be pinned to the same core.
    alone: bool,
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

/// An event of this many blocks takes several times as long to apply as a small publication takes. Whatever came before
/// it is published first and does not wait for it.
const LARGE: usize = 256;

/// How long a writer with a core for itself looks into its empty mailbox before it sleeps. Waking it takes some tens of
/// microseconds, which the event that comes next would wait, and costs its sender a system call. Looking for about as long
/// as that, and then sleeping, takes at most about twice the time of whoever knew when the next event comes (Karlin and
/// others: Competitive randomized algorithms for nonuniform problems, 1990).
const POLL: Duration = Duration::from_micros(100);

/// How often the processor pauses between two looks. A look takes a lock that senders need.
const PAUSES: usize = 16;

impl Actor {
    pub(crate) fn new(shard: usize, mailbox: Arc<Mailbox<Message>>, writer: Writer, settings: &Builder) -> Self {
        Self {
            shard,
            mailbox,
            taken: VecDeque::new(),
            handled: Room::default(),
            writer,
            pin: settings.core(shard),
            pinned: None,
            alone: settings.has_a_core_alone(shard),
            interval: settings.publish_interval,
            batch: settings.publish_batch,
            pending: Vec::new(),
            apply_time: Duration::ZERO,
            publish_time: Duration::ZERO,
            lag: lag_histogram(),
        }
    }

    /// Works until the mailbox is closed and empty.
    pub(crate) fn run(mut self) {
        self.pinned = self.pin.filter(|&id| core_affinity::set_for_current(core_affinity::CoreId { id }));
        if self.pin != self.pinned {
            tracing::warn!(shard = self.shard, core = self.pin, "the writer could not be pinned and runs unpinned");
        }
        let work = || {
            while self.poll() || self.mailbox.take(&mut self.taken) {
                self.drain();
                self.writer.catch_up();
            }
        };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
            // Nobody may wait for a dead writer: neither for room, nor for the answer to a question.
            self.mailbox.abandon();
            self.taken.clear();
            resume_unwind(panic);
        }
    }

    /// Takes out what comes within [`POLL`], if the writer has a core for itself. Returns whether anything came.
    fn poll(&mut self) -> bool {
        if !self.alone || self.pinned.is_none() {
            return false;
        }
        let begin = Instant::now();
        while begin.elapsed() < POLL {
            if self.mailbox.try_take(&mut self.taken) {
                return true;
            }
            (0..PAUSES).for_each(|_| spin_loop());
        }
        false
    }

    /// Handles what was taken out of the mailbox, and all that is put in meanwhile. When this returns, the mailbox was
    /// empty and everything is visible.
    fn drain(&mut self) {
        let mut since = Instant::now();
        let mut unclocked = 0;
        loop {
            while let Some(message) = self.taken.pop_front() {
                let room = message.room();
                if let Message::Apply(event, accepted) = message {
                    if event.data.len() >= LARGE {
                        since = self.publish(since);
                    }
                    // A rejection is counted in the worker's status and logged there.
                    let _ = self.writer.apply(&event);
                    self.pending.push((event.worker, accepted));
                    self.handled.add(room);
                    unclocked += 1 + event.data.len();
                    let due = unclocked >= CLOCK && since.elapsed() >= self.interval;
                    if due || self.pending.len() as u64 >= self.batch {
                        since = self.publish(since);
                    }
                    unclocked %= CLOCK;
                } else {
                    self.publish(since);
                    self.answer(message);
                    self.handled.add(room);
                    since = Instant::now();
                }
            }
            if !self.mailbox.try_take(&mut self.taken) {
                self.publish(since);
                return;
            }
        }
    }

    /// Publishes what was applied since `since`, if anything was, and returns the time.
    fn publish(&mut self, since: Instant) -> Instant {
        let applied = Instant::now();
        if self.handled != Room::default() {
            self.mailbox.release(take(&mut self.handled));
        }
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
                let (waiting, most) = (self.mailbox.used(), self.mailbox.most());
                let status = ShardStatus {
                    shard: self.shard,
                    pinned: self.pinned,
                    mailbox_depth: waiting.events,
                    mailbox_capacity: most.events,
                    mailbox_bytes: waiting.bytes as u64,
                    mailbox_bytes_capacity: most.bytes as u64,
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
