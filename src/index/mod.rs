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
mod publish;
mod read;
mod reader;
mod shared;
mod status;
mod write;
mod writer;

use std::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Relaxed},
};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Instant;

use flume::Sender;

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
use publish::SwapCell;
use read::search::Lookup;
use read::snapshot::Snapshot;
use shared::prefix::PrefixHasher;

/// A global index of which workers hold which blocks: events go in, and any prompt's overlap with every worker comes out.
///
/// This is a handle: cheap to clone, to send and to share. Workers are spread over [shards](Builder::shards), each with a
/// writer thread that drains a bounded mailbox. When the last handle is dropped, the writers finish what they were
/// sent and end; the drop does not wait for them, [`Index::shutdown`] does.
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
    /// `None` after shutdown. Senders share the lock, and shutdown waits for those that are sending. So what was accepted is
    /// in the mailbox before the mailbox ends.
    mailbox: RwLock<Option<Sender<Message>>>,
    /// Set when the writer has panicked; it drops what it is sent.
    dead: Arc<AtomicBool>,
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
            let (sender, mailbox) = flume::bounded(settings.mailbox);
            let writer = Writer::new(settings.shard(&hasher));
            let dead = Arc::default();
            let cell = writer.cell().clone();
            let actor = Actor::new(shard, mailbox, Arc::clone(&dead), writer, settings);
            shards.push(ShardHandle { cell, mailbox: RwLock::new(Some(sender)), dead });
            let thread = std::thread::Builder::new().name(format!("kvleap-writer-{shard}"));
            writers.push(thread.spawn(|| actor.run()).map_err(ConfigError::Thread)?);
        }
        Ok(Self(Arc::new(Inner { hasher, stride: settings.jump_stride, shards, writers: Mutex::new(writers) })))
    }

    /// Sends an event to the worker's shard. Waits while the mailbox is full, so call [`Index::try_send`] where a thread
    /// must not block.
    ///
    /// Accepted events are applied in order. An event that is then rejected is counted in the worker's
    /// [status](Index::status).
    ///
    /// # Errors
    /// Hands the event back if the index was shut down or its writer died.
    pub fn send(&self, event: Event) -> Result<(), SendError> {
        let shard = self.shard(event.worker);
        let accepted = Instant::now();
        match shard.with_mailbox(Message::Apply(event, accepted), |mailbox, message| {
            mailbox.send(message).map_err(|error| error.0)
        }) {
            Ok(()) => Ok(()),
            Err(message) => Err(SendError(event_of(message))),
        }
    }

    /// Sends an event to the worker's shard, unless the mailbox is full. Never waits.
    ///
    /// # Errors
    /// Hands the event back, with the reason.
    pub fn try_send(&self, event: Event) -> Result<(), TrySendError> {
        let shard = self.shard(event.worker);
        let mut full = false;
        let accepted = Instant::now();
        match shard.with_mailbox(Message::Apply(event, accepted), |mailbox, message| {
            mailbox.try_send(message).map_err(|error| {
                full = matches!(error, flume::TrySendError::Full(_));
                error.into_inner()
            })
        }) {
            Ok(()) => Ok(()),
            Err(message) if full => Err(TrySendError::Full(event_of(message))),
            Err(message) => Err(TrySendError::Closed(event_of(message))),
        }
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
                status.shards.push(ShardStatus::without_writer(number, &shard.cell.load()));
            }
        }
        status.workers.sort_unstable_by_key(|worker| worker.worker);
        status
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

    /// Whether all writers run. One that died has said so in the log, and [`Index::status`] says which it is; this waits
    /// for nobody.
    pub fn is_alive(&self) -> bool {
        self.0.shards.iter().all(|shard| !shard.dead.load(Relaxed))
    }

    /// Applies an export, and returns when it is visible. It replaces what the index knew of the workers in it. Other events
    /// wait behind it, and shards become visible one by one. A block that an import removes is gone with all its copies.
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
    /// A writer had panicked, and what was accepted after that was not applied.
    pub fn shutdown(&self) -> Result<(), Closed> {
        for shard in &self.0.shards {
            drop(shard.mailbox.write().unwrap_or_else(PoisonError::into_inner).take());
        }
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
    /// Sends a message in the given way. Hands it back after a shutdown, after a panic of the writer, and if that fails.
    fn with_mailbox(
        &self,
        message: Message,
        send: impl FnOnce(&Sender<Message>, Message) -> Result<(), Message>,
    ) -> Result<(), Message> {
        match &*self.mailbox.read().unwrap_or_else(PoisonError::into_inner) {
            // Pairs with the store in `Actor::run`.
            Some(mailbox) if !self.dead.load(Acquire) => send(mailbox, message),
            _ => Err(message),
        }
    }

    fn ask<T>(&self, question: impl FnOnce(Sender<T>) -> Message) -> Result<flume::Receiver<T>, Closed> {
        let (reply, answer) = flume::bounded(1);
        self.with_mailbox(question(reply), |mailbox, message| mailbox.send(message).map_err(|error| error.0))
            .map_err(|_| Closed)?;
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::event::Block;

    fn stored(id: u64) -> Event {
        let blocks = vec![Block { sequence: id, local: id }];
        Event { worker: Worker::new(1, 0), id, data: EventData::Stored { parent: None, blocks } }
    }

    fn tell(index: &Index, message: Message) {
        let sent = index.0.shards[0].with_mailbox(message, |mailbox, m| mailbox.send(m).map_err(|error| error.0));
        assert!(sent.is_ok(), "the mailbox is open");
    }

    /// The writer waits until this is received from: what is sent meanwhile stays in the mailbox.
    fn held_up(index: &Index) -> flume::Receiver<()> {
        let (reply, hold) = flume::bounded(0);
        tell(index, Message::Flush(reply));
        // The writer has taken the message out when the mailbox is empty.
        let Some(mailbox) = index.0.shards[0].mailbox.read().expect("nobody panicked with it").clone() else {
            unreachable!("the mailbox is open")
        };
        while !mailbox.is_empty() {
            std::thread::yield_now();
        }
        hold
    }

    fn depth(index: &Index, id: u64) -> u32 {
        let mut matches = Matches::new();
        index.find(&[id], &mut matches);
        matches.depth(Worker::new(1, 0))
    }

    #[test]
    fn a_panicked_writer_ends_writing_and_not_reading() {
        let index = Index::builder().build().expect("valid settings");
        index.send(stored(1)).expect("open");
        index.flush().expect("open");
        // Behind the panic: an event that is lost with the writer, and askers who must not wait for ever.
        let hold = held_up(&index);
        tell(&index, Message::Panic);
        index.send(stored(2)).expect("open");
        let flush = index.0.shards[0].ask(Message::Flush).expect("open");
        let export = index.0.shards[0].ask(|reply| Message::Export(None, reply)).expect("open");
        hold.recv().expect("the writer waits");
        assert!(flush.recv().is_err() && export.recv().is_err());

        assert!(!index.is_alive());
        assert_eq!(index.flush(), Err(Closed));
        assert_eq!(index.export(), Err(Closed));
        assert_eq!(index.import(vec![stored(3)]), Err(ImportError::Closed));
        assert_eq!(index.send(stored(3)), Err(SendError(stored(3))));
        assert_eq!(index.try_send(stored(3)), Err(TrySendError::Closed(stored(3))));
        assert_eq!((depth(&index, 1), depth(&index, 2)), (1, 0), "readers go on with the last snapshot");
        let status = index.status();
        let shard = &status.shards[0];
        assert_eq!((shard.alive, shard.applied_events, shard.published_events, shard.runs), (false, 1, 1, 1));
        assert!(status.workers.is_empty());
        assert_eq!(index.shutdown(), Err(Closed), "the panic is reported");
        assert_eq!(depth(&index, 1), 1);
    }

    #[test]
    fn senders_who_wait_are_let_go_when_the_writer_panics() {
        let index = Index::builder().mailbox(1).build().expect("valid settings");
        let hold = held_up(&index);
        tell(&index, Message::Panic);
        std::thread::scope(|scope| {
            let index = &index;
            let senders: Vec<_> = (0..3).map(|id| (id, scope.spawn(move || index.send(stored(id))))).collect();
            hold.recv().expect("the writer waits");
            let results = senders.into_iter().map(|(id, sender)| (id, sender.join().expect("no panic here")));
            // What was in the mailbox before the panic is lost with the writer; nothing else is.
            for (id, result) in results {
                assert!(result.is_ok() || result == Err(SendError(stored(id))));
            }
            assert_eq!(index.flush(), Err(Closed));
            assert_eq!(index.send(stored(9)), Err(SendError(stored(9))));
        });
    }

    #[test]
    fn a_mailbox_holds_what_it_is_said_to_hold() {
        let index = Index::builder().mailbox(3).build().expect("valid settings");
        let hold = held_up(&index);
        for id in 0..3 {
            assert_eq!(index.try_send(stored(id)), Ok(()));
        }
        assert_eq!(index.try_send(stored(3)), Err(TrySendError::Full(stored(3))));
        assert_eq!((depth(&index, 0), depth(&index, 2)), (0, 0), "nothing is applied meanwhile");
        hold.recv().expect("the writer waits");
        index.send(stored(3)).expect("open");
        index.flush().expect("open");
        assert!((0..4).all(|id| depth(&index, id) == 1), "nothing accepted is lost");
    }

    #[test]
    fn shutdown_applies_what_was_accepted() {
        let index = Index::builder().build().expect("valid settings");
        let hold = held_up(&index);
        (0..100).for_each(|id| index.send(stored(id)).expect("open"));
        std::thread::scope(|scope| {
            let shutdown = scope.spawn(|| index.shutdown());
            // The end of the mailbox is there, and a hundred events before it.
            while index.try_send(stored(100)) == Ok(()) {}
            hold.recv().expect("the writer waits");
            assert_eq!(shutdown.join().expect("no panic here"), Ok(()));
        });
        assert!((0..100).all(|id| depth(&index, id) == 1));
    }

    #[test]
    fn a_batch_is_published_while_more_is_waiting() {
        let index = Index::builder().publish_batch(10).publish_interval(Duration::MAX);
        let index = index.build().expect("valid settings");
        let hold = held_up(&index);
        (0..35).for_each(|id| index.send(stored(id)).expect("open"));
        hold.recv().expect("the writer waits");
        index.flush().expect("open");
        let status = index.status();
        assert_eq!(status.shards[0].generation, 4, "three full batches and the rest");
        assert_eq!(status.shards[0].lag.len(), 35, "the lag of every event is measured");
    }

    #[test]
    fn an_interval_of_nothing_publishes_as_often_as_the_clock_is_read() {
        let index = Index::builder().publish_batch(u64::MAX).publish_interval(Duration::ZERO);
        let index = index.build().expect("valid settings");
        let hold = held_up(&index);
        (0..200).for_each(|id| index.send(stored(id)).expect("open"));
        hold.recv().expect("the writer waits");
        index.flush().expect("open");
        assert!(index.status().shards[0].generation > 3);
    }
}
