//! The index: position arrays that one thread per shard writes and everybody reads without a lock.
//!
//! `write/` is the writer's state, `read/` is what lookups do, and `shared/` is what both are made of. The files at the
//! top are what a user sees, and what runs it.

mod actor;
mod builder;
#[cfg(test)]
mod collisions;
mod error;
#[cfg(feature = "figures")]
mod inspect;
mod mailbox;
mod publish;
mod read;
mod reader;
mod shared;
mod status;
#[cfg(test)]
mod tests;
mod write;
mod writer;

use std::sync::{self, Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use ::flume::{self, Receiver, Sender};

pub use builder::{Builder, ConfigError, MAX_SHARDS};
pub use error::{Closed, ImportError, Rejection, SendError, TrySendError};
#[cfg(feature = "figures")]
pub use inspect::{Found, Holding, Probe, Run};
pub use read::matches::{Layer, Matches, Watermark};
pub use reader::Reader;
pub use status::{ShardStatus, Status, WorkerStatus};
pub use write::left_out::MAX_LEFT_OUT;
pub use writer::Writer;

pub(crate) use shared::mix::{BuildMix, mix};

use crate::event::{Event, EventData, Worker};
use actor::{Actor, Message};
use mailbox::{Mailbox, Refused};
use publish::SwapCell;
use read::search::Lookup;
use read::snapshot::Snapshot;
use shared::prefix::PrefixHasher;

/// A global index of which workers hold which blocks: events go in, and any prompt's overlap with every worker comes out.
///
/// This is a handle: cheap to clone, to send and to share. Workers are spread over [shards](Builder::shards), each with a
/// writer thread that drains a bounded mailbox. When the last handle is dropped, the writers end, without what still
/// waits in the mailboxes, because nobody could see it; the drop does not wait for them. [`Index::shutdown`] waits.
///
/// # Processes that fork
/// Threads are not copied by `fork`, so an index that was built before has no writers in the child. Lookups go on there
/// with the last snapshot. What would wait for a writer, such as [`Index::flush`] and [`Index::export`], returns
/// [`Closed`]. But [`Index::send`] and [`Index::try_send`] accept events, which nobody applies, until the mailbox is
/// full; and if another thread used a mailbox at the moment of the fork, they wait for ever. So build the index in the
/// child, after the fork.
///
/// # Consistency
/// An answer is exact as of its [watermarks](Matches::watermarks): for each shard it shows exactly a number of the
/// shard's accepted events, in the order in which they were accepted. Events of one worker sent by one thread keep
/// their order. Shards are not synchronised with each other; a worker's blocks are all in one. For one reader,
/// watermarks never go back. An event becomes visible about [`Builder::publish_interval`] and a publication after
/// it was applied at most, and at once when no other is waiting; [`Index::flush`] waits for it. The
/// [crate's documentation](crate#consistency) has the exact bound.
#[derive(Clone, Debug)]
pub struct Index(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    hasher: PrefixHasher,
    stride: u32,
    shards: Vec<ShardHandle>,
    writers: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Debug)]
struct ShardHandle {
    cell: Arc<SwapCell<Snapshot>>,
    mailbox: Arc<Mailbox<Message>>,
    /// The process that the writer is in.
    process: u32,
}

impl Index {
    /// Returns the default settings, to start from.
    pub fn builder() -> Builder {
        Builder::default()
    }

    fn start(settings: &Builder) -> Result<Self, ConfigError> {
        let hasher = settings.hasher()?;
        let mut shards = Vec::with_capacity(settings.shards);
        let mut writers = Vec::with_capacity(settings.shards);
        for shard in 0..settings.shards {
            let mailbox = Arc::new(Mailbox::new(settings.room()));
            let writer = Writer::new(settings.shard(&hasher));
            let cell = writer.cell().clone();
            let actor = Actor::new(shard, Arc::clone(&mailbox), writer, settings);
            shards.push(ShardHandle { cell, mailbox, process: std::process::id() });
            let thread = std::thread::Builder::new().name(format!("kvleap-writer-{shard}"));
            writers.push(thread.spawn(|| actor.run()).map_err(ConfigError::Thread)?);
        }
        Ok(Self(Arc::new(Inner { hasher, stride: settings.jump_stride, shards, writers: Mutex::new(writers) })))
    }

    /// Sends an event to the worker's shard. Waits while the mailbox is full, in [events](Builder::mailbox) or in
    /// [bytes](Builder::mailbox_bytes), so call [`Index::try_send`] where a thread must not block.
    ///
    /// Accepted events are applied in order. An event that is then rejected is counted in the worker's
    /// [status](Index::status).
    ///
    /// # Errors
    /// Hands the event back if the index was shut down or its writer died.
    pub fn send(&self, event: Event) -> Result<(), SendError> {
        let shard = self.shard(event.worker);
        shard.send(Message::Apply(event, Instant::now())).map_err(|message| SendError(event_of(message)))
    }

    /// Sends an event to the worker's shard, unless the mailbox is full or others wait for it already. Never waits.
    ///
    /// # Errors
    /// Hands the event back, with the reason.
    pub fn try_send(&self, event: Event) -> Result<(), TrySendError> {
        let shard = self.shard(event.worker);
        let message = Message::Apply(event, Instant::now());
        let room = message.room();
        shard.mailbox.try_send(message, room).map_err(|refused| match refused {
            Refused::Full(message) => TrySendError::Full(event_of(message)),
            Refused::Closed(message) => TrySendError::Closed(event_of(message)),
        })
    }

    /// Whether less than half of the mailbox of the worker's shard is in use, in events and in bytes, so that an event of
    /// the worker can be [sent](Index::send) without waiting unless many others send at the same time. Also true when a
    /// send would fail, because that takes no time either. Cheap, and never waits for the writer: callers that must not
    /// block can ask before they send, and ask again a little later.
    pub fn has_room(&self, worker: Worker) -> bool {
        self.shard(worker).mailbox.is_half_free()
    }

    /// Like [`Index::has_room`], for all workers: a batch of events may be about several.
    #[cfg(feature = "service")]
    pub(crate) fn has_room_for_all(&self) -> bool {
        self.0.shards.iter().all(|shard| shard.mailbox.is_half_free())
    }

    /// Returns how many bytes of events wait for all writers. Does not wait for the writers.
    #[cfg(feature = "service")]
    pub(crate) fn waiting_bytes(&self) -> u64 {
        self.0.shards.iter().map(|shard| shard.mailbox.used().bytes as u64).sum()
    }

    /// Makes the first writer wait until this is received from: what is sent meanwhile stays in the mailbox.
    #[cfg(test)]
    pub(crate) fn hold_up(&self) -> Receiver<()> {
        let (reply, hold) = flume::bounded(0);
        let mailbox = &self.0.shards[0].mailbox;
        assert!(self.0.shards[0].send(Message::Flush(reply)).is_ok(), "the mailbox is open");
        // The writer has taken the message out when the mailbox is empty.
        while !mailbox.is_empty() {
            std::thread::yield_now();
        }
        hold
    }

    /// Forgets a worker that is gone, and rejects what it may still send. Like [`Index::send`] of
    /// [`EventData::WorkerRemoved`].
    ///
    /// # Errors
    /// Like [`Index::send`].
    pub fn remove_worker(&self, worker: Worker) -> Result<(), SendError> {
        self.send(Event { worker, id: 0, data: EventData::WorkerRemoved })
    }

    /// Adds a worker. This is needed only after [`Index::remove_worker`]. Like [`Index::send`] of
    /// [`EventData::WorkerAdded`].
    ///
    /// # Errors
    /// Like [`Index::send`].
    pub fn add_worker(&self, worker: Worker) -> Result<(), SendError> {
        self.send(Event { worker, id: 0, data: EventData::WorkerAdded })
    }

    /// Tells the index that the worker stores and removes a block once for each copy of it. Like [`Index::send`] of
    /// [`EventData::CopiesCounted`].
    ///
    /// # Errors
    /// Like [`Index::send`].
    pub fn count_copies(&self, worker: Worker) -> Result<(), SendError> {
        self.send(Event { worker, id: 0, data: EventData::CopiesCounted })
    }

    /// Finds which workers hold how many leading blocks of the prompt with these local hashes.
    ///
    /// Takes no lock and never waits. Once `matches` is warm it allocates nothing, until there are more workers than it
    /// knows. The cost in every shard is about one cache miss for every run on the path, a search in the last one, and a
    /// step for each group of up to 64 workers with neighbouring slots. The query is hashed once, as far as the search
    /// looks. After a shutdown it answers from the last snapshot. Queries have fewer than 2^32 blocks.
    pub fn find(&self, hashes: &[u64], matches: &mut Matches) {
        let Inner { hasher, stride, shards, .. } = &*self.0;
        matches.reset(shards.len());
        for (number, shard) in (0..).zip(shards) {
            Lookup { snapshot: &shard.cell.load(), shard: number, hasher, stride: *stride }.find(hashes, matches);
        }
        matches.sort();
    }

    /// Looks up many prompts at once, like [`Index::find`], and returns the answers in the same order. All of them have the
    /// same watermarks.
    ///
    /// This is faster than one lookup after the other: while one waits for memory, others go on. The answers are in
    /// `buffer`. Keep it for the next batch, of whatever size: it grows when it must, and once it is warm, a batch
    /// allocates nothing.
    ///
    /// ```
    /// # use kvleap::*;
    /// # let index = Index::builder().build()?;
    /// # let data = EventData::Stored { parent: None, blocks: vec![Block { sequence: 1, local: 11 }] };
    /// # index.send(Event { worker: Worker::new(7, 0), id: 1, data })?;
    /// # index.flush()?;
    /// let mut buffer = Vec::new();
    /// let answers = index.find_many(&[vec![11, 12], vec![13]], &mut buffer);
    /// assert_eq!(answers[0].depth(Worker::new(7, 0)), 1);
    /// assert!(answers[1].is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn find_many<'m>(&self, queries: &[impl AsRef<[u64]>], buffer: &'m mut Vec<Matches>) -> &'m [Matches] {
        let Inner { hasher, stride, shards, .. } = &*self.0;
        let answers = Matches::reset_many(buffer, queries.len(), shards.len());
        for (number, shard) in (0..).zip(shards) {
            Lookup { snapshot: &shard.cell.load(), shard: number, hasher, stride: *stride }.find_many(queries, answers);
        }
        answers.iter_mut().for_each(Matches::sort);
        answers
    }

    /// Waits until every event that was accepted before the call is visible.
    ///
    /// # Errors
    /// The index was shut down, or a writer died.
    pub fn flush(&self) -> Result<(), Closed> {
        self.ask_all(Message::Flush).map(|_| ())
    }

    /// Returns the state of every shard and worker, after what was accepted before the call. Waits for the writers to
    /// answer; a shard whose writer has ended is described by its last snapshot, without its workers. The cost for a writer
    /// is in proportion to its workers.
    pub fn status(&self) -> Status {
        let mut status = Status::default();
        // Ask all of them before waiting for one.
        let replies: Vec<_> = self.0.shards.iter().map(|shard| shard.ask(Message::Status)).collect();
        for (number, (shard, reply)) in self.0.shards.iter().zip(replies).enumerate() {
            if let Some((shard, workers)) = reply.ok().and_then(|reply| reply.recv().ok()) {
                status.shards.push(shard);
                status.workers.extend(workers);
            } else {
                let most = shard.mailbox.most();
                status.shards.push(ShardStatus {
                    mailbox_capacity: most.events,
                    mailbox_bytes_capacity: most.bytes as u64,
                    ..ShardStatus::without_writer(number, &shard.cell.load())
                });
            }
        }
        status.workers.sort_unstable_by_key(|worker| worker.worker);
        status
    }

    /// Returns the state of these workers, after what was accepted before the call, in no particular order. Workers that
    /// the index does not know are missing. Waits for the writers to answer. The cost for a writer is in proportion to the
    /// workers that are asked about, however many there are.
    ///
    /// # Errors
    /// The index was shut down, or a writer died.
    pub fn status_of(&self, workers: &[Worker]) -> Result<Vec<WorkerStatus>, Closed> {
        let mut by_shard: Vec<Vec<Worker>> = vec![Vec::new(); self.0.shards.len()];
        for &worker in workers {
            by_shard[self.shard_number(worker)].push(worker);
        }
        let asked = self.0.shards.iter().zip(by_shard).filter(|(_, workers)| !workers.is_empty());
        let replies: Result<Vec<_>, _> =
            asked.map(|(shard, workers)| shard.ask(|reply| Message::StatusOf(workers, reply))).collect();
        let answers: Result<Vec<_>, _> = replies?.into_iter().map(|reply| reply.recv().map_err(|_| Closed)).collect();
        Ok(answers?.concat())
    }

    /// Returns the whole state as events, after what was accepted before the call. Applied in order to an empty index they
    /// rebuild the state, whatever its seed and number of shards.
    ///
    /// The events come worker by worker, parents first. A hole is stored under an unused sequence hash and removed again at
    /// the end. Where copies are counted, a block is stored once for each of them. Every event carries its worker's last
    /// event id, so an importer continues where the worker is. Removed workers are left out, and the export does not say
    /// which workers are [incomplete](Matches::incomplete). Every shard exports its state of its own moment. A writer
    /// applies nothing while it exports, which takes time and memory in proportion to the blocks and copies held; lookups
    /// go on.
    ///
    /// # Errors
    /// The index was shut down, or a writer died.
    pub fn export(&self) -> Result<Vec<Event>, Closed> {
        self.ask_all(|reply| Message::Export(None, reply)).map(|shards| shards.concat())
    }

    /// Returns the part of an [export](Self::export) that is about one worker; nothing if it is not known.
    ///
    /// # Errors
    /// The index was shut down, or the worker's writer died.
    pub fn export_worker(&self, worker: Worker) -> Result<Vec<Event>, Closed> {
        let answer = self.shard(worker).ask(|reply| Message::Export(Some(worker), reply))?;
        answer.recv().map_err(|_| Closed)
    }

    /// Whether all writers run: false once one of them died, or the index was shut down. Takes no lock. The log and
    /// [`Index::status`] say which writer it is.
    pub fn is_alive(&self) -> bool {
        self.0.shards.iter().all(|shard| !shard.mailbox.is_closed())
    }

    /// Whether events of this worker are still applied. Takes no lock.
    #[cfg(feature = "service")]
    pub(crate) fn follows(&self, worker: Worker) -> bool {
        !self.shard(worker).mailbox.is_closed()
    }

    /// Applies an export, and returns when it is visible. It replaces what the index knew of the workers in it. Like
    /// [`Index::send`], it waits while a mailbox is full. Other events wait behind it, and shards become visible one by
    /// one. A block that an import removes is gone with all its copies.
    ///
    /// # Errors
    /// The index was shut down, or an event was rejected, most likely because a limit is lower than the exporter's. The other
    /// events are applied all the same.
    pub fn import(&self, events: Vec<Event>) -> Result<(), ImportError> {
        let mut by_shard: Vec<Vec<Event>> = self.0.shards.iter().map(|_| Vec::new()).collect();
        for event in events {
            by_shard[self.shard_number(event.worker)].push(event);
        }
        let replies: Result<Vec<_>, _> = self
            .0
            .shards
            .iter()
            .zip(by_shard)
            .map(|(shard, events)| shard.ask(|reply| Message::Import(events, reply)))
            .collect();
        let replies = replies.map_err(|Closed| ImportError::Closed)?;
        let results: Vec<_> = replies.into_iter().map(|reply| reply.recv()).collect();
        results.into_iter().try_for_each(|result| match result {
            Ok(result) => result.map_err(ImportError::Rejected),
            Err(_) => Err(ImportError::Closed),
        })
    }

    /// Applies and publishes what was accepted, and ends the writers. Waits for them; a second call does nothing and does
    /// not wait. Afterwards every handle still answers lookups from the last snapshots, and everything else returns
    /// [`Closed`].
    ///
    /// # Errors
    /// A writer had panicked, and what was accepted after that was not applied; or this process is a fork of the one that
    /// built the index.
    pub fn shutdown(&self) -> Result<(), Closed> {
        if !self.0.shards.iter().all(ShardHandle::has_writer) {
            return Err(Closed);
        }
        self.0.shards.iter().for_each(|shard| shard.mailbox.close());
        let writers = std::mem::take(&mut *self.0.writers.lock().unwrap_or_else(PoisonError::into_inner));
        let ends: Vec<_> = writers.into_iter().map(JoinHandle::join).collect();
        if ends.iter().all(Result::is_ok) { Ok(()) } else { Err(Closed) }
    }

    fn shard_number(&self, worker: Worker) -> usize {
        (mix(worker.id ^ mix(u64::from(worker.dp_rank))) % self.0.shards.len() as u64) as usize
    }

    fn shard(&self, worker: Worker) -> &ShardHandle {
        &self.0.shards[self.shard_number(worker)]
    }

    /// Asks every writer the same question, and waits for all answers.
    fn ask_all<T>(&self, question: impl Fn(Sender<T>) -> Message) -> Result<Vec<T>, Closed> {
        let replies: Result<Vec<_>, _> = self.0.shards.iter().map(|shard| shard.ask(&question)).collect();
        replies?.into_iter().map(|reply| reply.recv().map_err(|_| Closed)).collect()
    }
}

fn event_of(message: Message) -> Event {
    match message {
        Message::Apply(event, _) => event,
        _ => unreachable!("only events are handed back"),
    }
}

impl ShardHandle {
    /// Whether the writer is in this process. A process that was forked off has no threads but the one that forked.
    fn has_writer(&self) -> bool {
        self.process == std::process::id()
    }

    /// Sends a message. Waits for room if it takes some. Hands it back after a shutdown or a panic of the writer, and
    /// rather than wait in a process without the writer.
    fn send(&self, message: Message) -> Result<(), Message> {
        let room = message.room();
        match self.mailbox.try_send(message, room) {
            Ok(()) => Ok(()),
            Err(Refused::Full(message)) if self.has_writer() => self.mailbox.send(message, room),
            Err(Refused::Full(message) | Refused::Closed(message)) => Err(message),
        }
    }

    fn ask<T>(&self, question: impl FnOnce(Sender<T>) -> Message) -> Result<Receiver<T>, Closed> {
        if !self.has_writer() {
            return Err(Closed);
        }
        let (reply, answer) = flume::bounded(1);
        self.send(question(reply)).map_err(|_| Closed)?;
        Ok(answer)
    }
}

impl Drop for ShardHandle {
    /// Ends the writer: nobody is left who could see what it does.
    fn drop(&mut self) {
        // In a process that was forked off, the mailbox may be locked for ever.
        if self.has_writer() {
            self.mailbox.abandon();
        }
    }
}
