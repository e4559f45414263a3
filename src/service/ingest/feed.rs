//! Handing batches over: decoded, normalised, to the index.

use std::sync::Arc;

use twox_hash::XxHash3_64;

use super::dynamo::DynamoEvent;
use super::normalise::Normaliser;
use super::record::{TierMap, WorkerRecord, WorkerRecords};
use super::tier_writer::{Change, TierWriter, used};
use crate::event::{Event, EventData, Worker};
use crate::index::Closed;
use crate::service::doubt::{Doubt, Doubts};
use crate::service::media::Medium;
use crate::service::publisher::{Connection, Copies, Count, Position, Publisher, Skip};
use crate::service::wire::{self, Batch, Error};
use crate::service::{MAX_RANK, Model, Tier};

/// By which a batch is known again.
pub(super) fn fingerprint(payload: &[u8]) -> u64 {
    XxHash3_64::oneshot(payload)
}

/// What became of events that came over HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Events handed over to the index.
    pub events: u64,
    /// Blocks that they name.
    pub blocks: u64,
    /// Events left out; the [`Publisher`] has counted why.
    pub skipped: u64,
}

/// Hands the batch over that has this sequence number, and returns when the index has accepted it. What [`Listener`]s do
/// with each; whether it is its turn is the caller's business.
///
/// A batch that cannot be decoded changes nothing but the position and, because nobody knows what was in it, what can be
/// relied on. Waits while the mailbox is full or a snapshot is being taken.
///
/// # Errors
/// The index was shut down.
///
/// [`Listener`]: super::Listener
pub fn apply(model: &Model, publisher: &Publisher, sequence: u64, payload: &[u8]) -> Result<(), Closed> {
    let decoded = Batch::decode(payload);
    let _applying = model.applying();
    let mut position = publisher.position();
    if sequence == 0 {
        // It is heard from its beginning.
        publisher.settle(Doubt::JoinedLate);
    }
    match &decoded {
        Ok(batch) => hand_over(model, publisher, batch, sequence)?,
        Err(error) => undecodable(publisher, sequence, error),
    }
    position.fingerprint = Some(fingerprint(payload));
    publisher.advance(&mut position, sequence + 1);
    publisher.add(Count::Batches, 1);
    Ok(())
}

fn undecodable(publisher: &Publisher, sequence: u64, error: &Error) {
    tracing::warn!(worker = %publisher.worker(), sequence, "batch left out: {error}");
    publisher.add(Count::Undecodable, 1);
    publisher.doubt(Doubt::Undecodable);
}

fn hand_over(model: &Model, publisher: &Publisher, batch: &Batch<'_>, sequence: u64) -> Result<(), Closed> {
    publisher.note_seen(Some(batch.ts));
    (0..batch.unknown.times).for_each(|_| publisher.skip(Skip::UnknownTag));
    (0..batch.malformed.times).for_each(|_| publisher.skip(Skip::Malformed));
    if let Some(error) = batch.error {
        tracing::warn!(worker = %publisher.worker(), sequence, times = batch.malformed.times, "malformed events: {error}");
    }
    let Some(dp_rank) = dp_rank(model, publisher, batch) else {
        batch.events.iter().for_each(|_| publisher.skip(Skip::Rank));
        publisher.doubt(Doubt::Rank);
        return Ok(());
    };
    let mut content = publisher.content();
    let memory = memory(model, publisher, &mut content, dp_rank)?;
    let mut target = Target { model, publisher, worker: Worker::new(publisher.worker().id, dp_rank), memory };
    // Events that are not among the batch's: what they said may have been anything, at their place.
    let left = [(batch.unknown, Doubt::UnknownEvent), (batch.malformed, Doubt::Malformed)];
    left.iter().filter(|(left, _)| left.times > 0).for_each(|&(_, doubt)| publisher.doubt_rank(dp_rank, doubt));
    for (place, event) in batch.events.iter().enumerate() {
        target.take(batch, event, sequence.wrapping_add(1))?;
        if *event == wire::Event::Cleared {
            left.iter().filter(|(left, _)| left.is_behind(place)).for_each(|&(_, doubt)| {
                publisher.doubt_rank(dp_rank, doubt);
            });
        }
    }
    Ok(())
}

/// One of a publisher's workers, of which a batch speaks.
struct Target<'a> {
    model: &'a Model,
    publisher: &'a Publisher,
    worker: Worker,
    memory: &'a mut WorkerRecord,
}

impl Target<'_> {
    /// Takes an event of the engine's.
    fn take(&mut self, batch: &Batch<'_>, event: &wire::Event<'_>, id: u64) -> Result<(), Closed> {
        let mut normaliser = Normaliser {
            hasher: self.model.hasher(),
            media: self.model.media(),
            publishers: self.model.publishers(),
            publisher: self.publisher,
            memory: &mut *self.memory,
        };
        match normaliser.change(batch, event) {
            Ok(change) => drop(self.make(change, id)?),
            Err(why) => {
                let (hashes, place) = match event {
                    wire::Event::Stored(stored) => (stored.hashes.of(batch), stored.place),
                    wire::Event::Removed { hashes, place } => (hashes.of(batch), *place),
                    wire::Event::Cleared => (&[][..], wire::Location::default()),
                };
                let tier = self.model.media().get(place.medium).and_then(Medium::tier);
                match event {
                    wire::Event::Removed { .. } => self.leave_removal(tier, hashes, why),
                    _ => self.leave_out(tier, hashes, why),
                }
            }
        }
        Ok(())
    }

    /// Makes a change, unless there is no memory for what it adds. Returns how many blocks it names, or why it was not
    /// made.
    fn make(&mut self, change: Change<'_>, id: u64) -> Result<Result<u64, Skip>, Closed> {
        let counts = self.publisher.counts_copies();
        let exhausted = self.model.room().is_exhausted();
        let ended = match &change {
            Change::Stored { tier, blocks, .. } if exhausted => {
                let hashes: Vec<_> = blocks.iter().map(|block| block.sequence).collect();
                self.leave_out(Some(*tier), &hashes, Skip::Budget);
                return Ok(Err(Skip::Budget));
            }
            Change::Placed { tier, hashes } if exhausted => {
                self.leave_out(Some(*tier), hashes, Skip::Budget);
                return Ok(Err(Skip::Budget));
            }
            Change::Stored { tier, blocks, .. } => {
                self.model.room().note(self.worker, blocks);
                self.memory.left_out.stored(*tier, blocks.iter().map(|block| block.sequence), counts)
            }
            Change::Placed { .. } | Change::Cleared => Doubts::NONE,
            Change::Removed { tier, hashes } => self.memory.left_out.removed(Some(*tier), hashes),
        };
        ended.iter().for_each(|doubt| self.publisher.settle_rank(self.worker.dp_rank, doubt));
        let blocks = count(self.publisher, &change);
        let placed = if let Change::Placed { tier, .. } = change { Some(tier) } else { None };
        let cleared = change == Change::Cleared;
        let unknown = self.writer(id).apply(change)?;
        match placed {
            Some(_) if !unknown.is_empty() => self.leave_out(placed, &unknown, Skip::UnknownHash),
            // To remove what is not there is harmless.
            _ => unknown.iter().for_each(|_| self.publisher.skip(Skip::UnknownHash)),
        }
        if cleared {
            self.publisher.trust_rank(self.worker.dp_rank);
        }
        Ok(Ok(blocks))
    }

    fn writer(&mut self, id: u64) -> TierWriter<'_> {
        writer(self.model, self.publisher, self.worker, self.memory, id)
    }

    /// Blocks that the engine has will not be in the index.
    fn leave_out(&mut self, tier: Option<Tier>, hashes: &[u64], why: Skip) {
        self.publisher.skip(why);
        if let Some(doubt) = why.doubt() {
            self.publisher.doubt_rank(self.worker.dp_rank, doubt);
            self.memory.left_out.add(tier, hashes, doubt, self.publisher.counts_copies());
        }
    }

    /// A removal that cannot be made. It is harmless where the blocks were left out, too.
    fn leave_removal(&mut self, tier: Option<Tier>, hashes: &[u64], why: Skip) {
        self.publisher.skip(why);
        if why.doubt().is_some() {
            if !self.memory.left_out.has_all(tier, hashes) {
                self.publisher.doubt_rank(self.worker.dp_rank, Doubt::UnknownEvent);
            }
            let ended = self.memory.left_out.removed(tier, hashes);
            ended.iter().for_each(|doubt| self.publisher.settle_rank(self.worker.dp_rank, doubt));
        }
    }
}

/// The rank that a batch is about; `None` if it is too high. A batch's own word counts, except where it contradicts
/// what was registered: the publisher is registered as another rank than 0, or somebody else speaks for the rank named.
fn dp_rank(model: &Model, publisher: &Publisher, batch: &Batch<'_>) -> Option<u32> {
    let registered = publisher.worker().dp_rank;
    let Some(named) = batch.rank else { return Some(registered) };
    let named = u32::try_from(named).ok().filter(|&named| named <= MAX_RANK)?;
    let contradicts = || {
        registered != 0
            || model.publishers().speaks_another(Worker::new(publisher.worker().id, named), publisher.worker())
    };
    if named != registered && contradicts() {
        publisher.contradicted(named);
        return Some(registered);
    }
    Some(named)
}

/// What is remembered of one of the publisher's workers, which the index gets to know if it does not yet.
pub(super) fn memory<'c>(
    model: &Model,
    publisher: &Publisher,
    content: &'c mut WorkerRecords,
    dp_rank: u32,
) -> Result<&'c mut WorkerRecord, Closed> {
    publisher.note_rank(dp_rank);
    if !content.workers.contains_key(&dp_rank) {
        let mut memory = WorkerRecord { places: content.shared.then(TierMap::default), ..WorkerRecord::default() };
        let worker = Worker::new(publisher.worker().id, dp_rank);
        writer(model, publisher, worker, &mut memory, 0).begin()?;
        content.workers.insert(dp_rank, memory);
    }
    Ok(content.workers.get_mut(&dp_rank).expect("it is there, or was just entered"))
}

pub(super) fn writer<'a>(
    model: &'a Model,
    publisher: &Publisher,
    worker: Worker,
    memory: &'a mut WorkerRecord,
    id: u64,
) -> TierWriter<'a> {
    let (seat, count_copies) = (publisher.seat(), publisher.counts_copies());
    TierWriter { index: model.index(), worker, memory, seat, count_copies, id }
}

/// Returns how many blocks it names.
fn count(publisher: &Publisher, change: &Change<'_>) -> u64 {
    let (kind, blocks) = match change {
        Change::Stored { blocks, .. } => (Count::Stored, blocks.len()),
        Change::Placed { hashes, .. } => (Count::Stored, hashes.len()),
        Change::Removed { hashes, .. } => (Count::Removed, hashes.len()),
        Change::Cleared => (Count::Cleared, 0),
    };
    publisher.add(kind, 1);
    publisher.add(Count::Blocks, blocks as u64);
    blocks as u64
}

/// Drops what the index has of a publisher, whose next batch will be its first.
pub(in crate::service) fn drop_all(model: &Model, publisher: &Publisher) -> Result<(), Closed> {
    let _applying = model.applying();
    drop_content(model, publisher, &mut publisher.position())
}

fn drop_content(model: &Model, publisher: &Publisher, position: &mut Position) -> Result<(), Closed> {
    let mut content = publisher.content();
    for worker in publisher.workers() {
        if let Some(memory) = content.workers.get_mut(&worker.dp_rank) {
            writer(model, publisher, worker, memory, 0).clear()?;
        }
    }
    position.fingerprint = None;
    publisher.advance(position, 0);
    publisher.trust();
    Ok(())
}

/// A publisher has been away for too long: drops what it stored.
pub(in crate::service) fn expire(model: &Model, publisher: &Publisher) -> Result<(), Closed> {
    let _applying = model.applying();
    let mut position = publisher.position();
    // Unless it has just spoken, over HTTP.
    if publisher.connection() == Connection::Unreachable {
        tracing::warn!(worker = %publisher.worker(), "the publisher is gone; what it held is dropped");
        drop_content(model, publisher, &mut position)?;
        publisher.add(Count::Expired, 1);
        publisher.set_connection(Connection::Gone);
    }
    Ok(())
}

/// Removes a publisher's workers from the index, on all tiers: what they may still say is rejected until a listener or an
/// event over HTTP speaks for them anew. Where another publisher speaks for them, too, what that one said stays. Its
/// listener must have been stopped.
///
/// # Errors
/// The index was shut down.
pub fn forget(model: &Model, publisher: &Publisher) -> Result<(), Closed> {
    if model.publishers().has_company(publisher) {
        return drop_all(model, publisher);
    }
    let _applying = model.applying();
    let _position = publisher.position();
    let mut content = publisher.content();
    for (dp_rank, memory) in std::mem::take(&mut *content).workers {
        remove(model, Worker::new(publisher.worker().id, dp_rank), &memory)?;
    }
    publisher.trust();
    Ok(())
}

fn remove(model: &Model, worker: Worker, memory: &WorkerRecord) -> Result<(), Closed> {
    for tier in used(memory.places.as_ref()) {
        model.index().remove_worker(tier.worker(worker)).map_err(|_| Closed)?;
    }
    Ok(())
}

/// Adds a publisher of `worker`, see [`Publishers::enter`](crate::service::Publishers). `None` if there are too many.
///
/// # Errors
/// The index was shut down.
pub(in crate::service) fn enter(
    model: &Model,
    worker: Worker,
    endpoint: Option<&str>,
    copies: Copies,
) -> Result<Option<Arc<Publisher>>, Closed> {
    let others = model.publishers().of(worker);
    if let Some(first) = others.first()
        && others.iter().all(|other| other.endpoint() != endpoint)
    {
        share(model, first)?;
    }
    Ok(model.publishers().enter(worker, endpoint, copies))
}

/// Another publisher comes beside this one: from now on it is remembered who said what.
fn share(model: &Model, publisher: &Publisher) -> Result<(), Closed> {
    let _applying = model.applying();
    let _position = publisher.position();
    let mut content = publisher.content();
    content.shared = true;
    for (&dp_rank, memory) in &mut content.workers {
        writer(model, publisher, Worker::new(publisher.worker().id, dp_rank), memory, 0).share()?;
    }
    Ok(())
}

/// Another publisher is registered as a worker that this one's batches named: what this one said of it goes.
pub(in crate::service) fn give_up(model: &Model, publisher: &Publisher, worker: Worker) -> Result<(), Closed> {
    let _applying = model.applying();
    let _position = publisher.position();
    if let Some(memory) = publisher.content().workers.remove(&worker.dp_rank) {
        remove(model, worker, &memory)?;
    }
    publisher.drop_rank(worker.dp_rank);
    // What it named so from the beginning was meant for its own rank.
    publisher.doubt(Doubt::JoinedLate);
    Ok(())
}

/// The batches from `from` on, and before `to`, are not to be had. Where both are the same, nobody can say whether any are
/// missing.
pub(super) fn lose(model: &Model, publisher: &Publisher, from: u64, to: u64) {
    let _applying = model.applying();
    let mut position = publisher.position();
    position.fingerprint = None;
    publisher.advance(&mut position, to);
    // Nothing that was removed before the first batch was ever in the index.
    let beginning = if from == 0 { Some(Doubt::JoinedLate) } else { None };
    publisher.doubt(beginning.unwrap_or(if from == to { Doubt::Unheard } else { Doubt::Gap }));
}

/// Hands over what came in the form of Dynamo's router, and returns when the index has accepted it. All of `events` are
/// about ranks of the instance that `rank` stands for.
///
/// # Errors
/// The index was shut down.
pub fn dynamo_events<'e>(
    model: &Model,
    publisher: &Publisher,
    events: impl IntoIterator<Item = &'e DynamoEvent>,
) -> Result<Applied, Closed> {
    let _applying = model.applying();
    let mut position = publisher.position();
    let mut content = publisher.content();
    let mut applied = Applied::default();
    for said in events {
        let event = &said.event;
        publisher.spoke();
        publisher.note_seen(None);
        follow(publisher, &mut position, event.event_id);
        let outcome = match said.change() {
            Ok(change) => {
                let memory = memory(model, publisher, &mut content, event.dp_rank)?;
                let worker = Worker::new(publisher.worker().id, event.dp_rank);
                Target { model, publisher, worker, memory }.make(change, event.event_id)?
            }
            Err(why) => {
                publisher.skip(why);
                if let Some(doubt) = why.doubt() {
                    publisher.doubt_rank(event.dp_rank, doubt);
                }
                Err(why)
            }
        };
        match outcome {
            Ok(blocks) => {
                applied.events += 1;
                applied.blocks += blocks;
            }
            Err(_) => applied.skipped += 1,
        }
    }
    Ok(applied)
}

/// Ids count up by one. The first may be 0 or 1; if it is higher, there was something before.
fn follow(publisher: &Publisher, position: &mut Position, id: u64) {
    let expected = position.next_sequence;
    if expected == 0 {
        if id > 1 {
            publisher.doubt(Doubt::JoinedLate);
        }
    } else if id > expected {
        publisher.add(Count::Gaps, 1);
        publisher.doubt(Doubt::EventIds);
    } else if id + 1 < expected {
        publisher.doubt(Doubt::EventIds);
    }
    publisher.advance(position, id.saturating_add(1));
}

/// The events that bring an importer to the state of `events`, an export of an index.
pub fn dump(events: impl IntoIterator<Item = Event>) -> impl Iterator<Item = DynamoEvent> {
    events.into_iter().filter_map(|event| {
        let (worker, tier) = Tier::split(event.worker);
        match event.data {
            EventData::WorkerAdded | EventData::WorkerRemoved | EventData::CopiesCounted => None,
            data => Some(DynamoEvent::of(worker, tier, event.id, data)),
        }
    })
}
