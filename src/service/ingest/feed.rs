//! Handing batches over: decoded, normalised, to the index.

use std::sync::Arc;

use twox_hash::XxHash3_64;

use super::memory::{Content, Memory, Places};
use super::normalise::Normaliser;
use super::router::RouterEvent;
use super::tiers::{Change, Writer, used};
use crate::event::{Event, EventData, Worker};
use crate::index::Closed;
use crate::service::doubt::{Doubt, Doubts};
use crate::service::media::Medium;
use crate::service::rank::{Copies, Count, Link, Position, Rank, Skip};
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
    /// Events left out; the [`Rank`] has counted why.
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
pub fn apply(model: &Model, rank: &Rank, sequence: u64, payload: &[u8]) -> Result<(), Closed> {
    let decoded = Batch::decode(payload);
    let _applying = model.applying();
    let mut position = rank.position();
    if sequence == 0 {
        // It is heard from its beginning.
        rank.settle(Doubt::JoinedLate);
    }
    match &decoded {
        Ok(batch) => hand_over(model, rank, batch, sequence)?,
        Err(error) => undecodable(rank, sequence, error),
    }
    position.fingerprint = Some(fingerprint(payload));
    rank.advance(&mut position, sequence + 1);
    rank.add(Count::Batches, 1);
    Ok(())
}

fn undecodable(rank: &Rank, sequence: u64, error: &Error) {
    tracing::warn!(worker = %rank.worker(), sequence, "batch left out: {error}");
    rank.add(Count::Undecodable, 1);
    rank.doubt(Doubt::Undecodable);
}

fn hand_over(model: &Model, rank: &Rank, batch: &Batch<'_>, sequence: u64) -> Result<(), Closed> {
    rank.note_seen(Some(batch.ts));
    (0..batch.unknown.times).for_each(|_| rank.skip(Skip::UnknownTag));
    (0..batch.malformed.times).for_each(|_| rank.skip(Skip::Malformed));
    if let Some(error) = batch.error {
        tracing::warn!(worker = %rank.worker(), sequence, times = batch.malformed.times, "malformed events: {error}");
    }
    let Some(dp_rank) = dp_rank(model, rank, batch) else {
        batch.events.iter().for_each(|_| rank.skip(Skip::Rank));
        rank.doubt(Doubt::Rank);
        return Ok(());
    };
    let mut content = rank.content();
    let memory = memory(model, rank, &mut content, dp_rank)?;
    let mut target = Target { model, rank, worker: Worker::new(rank.worker().id, dp_rank), memory };
    // Events that are not among the batch's: what they said may have been anything, at their place.
    let left = [(batch.unknown, Doubt::UnknownEvent), (batch.malformed, Doubt::Malformed)];
    left.iter().filter(|(left, _)| left.times > 0).for_each(|&(_, doubt)| rank.doubt_rank(dp_rank, doubt));
    for (place, event) in batch.events.iter().enumerate() {
        target.take(batch, event, sequence.wrapping_add(1))?;
        if *event == wire::Event::Cleared {
            left.iter().filter(|(left, _)| left.is_behind(place)).for_each(|&(_, doubt)| {
                rank.doubt_rank(dp_rank, doubt);
            });
        }
    }
    Ok(())
}

/// One of a publisher's workers, of which a batch speaks.
struct Target<'a> {
    model: &'a Model,
    rank: &'a Rank,
    worker: Worker,
    memory: &'a mut Memory,
}

impl Target<'_> {
    /// Takes an event of the engine's.
    fn take(&mut self, batch: &Batch<'_>, event: &wire::Event<'_>, id: u64) -> Result<(), Closed> {
        let mut normaliser = Normaliser {
            hasher: self.model.hasher(),
            media: self.model.media(),
            ranks: self.model.ranks(),
            rank: self.rank,
            memory: &mut *self.memory,
        };
        match normaliser.change(batch, event) {
            Ok(change) => drop(self.make(change, id)?),
            Err(why) => {
                let (hashes, place) = match event {
                    wire::Event::Stored(stored) => (stored.hashes.of(batch), stored.place),
                    wire::Event::Removed { hashes, place } => (hashes.of(batch), *place),
                    wire::Event::Cleared => (&[][..], wire::Place::default()),
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
        let counts = self.rank.counts_copies();
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
        ended.iter().for_each(|doubt| self.rank.settle_rank(self.worker.dp_rank, doubt));
        let blocks = count(self.rank, &change);
        let placed = if let Change::Placed { tier, .. } = change { Some(tier) } else { None };
        let cleared = change == Change::Cleared;
        let unknown = self.writer(id).apply(change)?;
        match placed {
            Some(_) if !unknown.is_empty() => self.leave_out(placed, &unknown, Skip::UnknownHash),
            // To remove what is not there is harmless.
            _ => unknown.iter().for_each(|_| self.rank.skip(Skip::UnknownHash)),
        }
        if cleared {
            self.rank.trust_rank(self.worker.dp_rank);
        }
        Ok(Ok(blocks))
    }

    fn writer(&mut self, id: u64) -> Writer<'_> {
        writer(self.model, self.rank, self.worker, self.memory, id)
    }

    /// Blocks that the engine has will not be in the index.
    fn leave_out(&mut self, tier: Option<Tier>, hashes: &[u64], why: Skip) {
        self.rank.skip(why);
        if let Some(doubt) = why.doubt() {
            self.rank.doubt_rank(self.worker.dp_rank, doubt);
            self.memory.left_out.add(tier, hashes, doubt, self.rank.counts_copies());
        }
    }

    /// A removal that cannot be made. It is harmless where the blocks were left out, too.
    fn leave_removal(&mut self, tier: Option<Tier>, hashes: &[u64], why: Skip) {
        self.rank.skip(why);
        if why.doubt().is_some() {
            if !self.memory.left_out.has_all(tier, hashes) {
                self.rank.doubt_rank(self.worker.dp_rank, Doubt::UnknownEvent);
            }
            let ended = self.memory.left_out.removed(tier, hashes);
            ended.iter().for_each(|doubt| self.rank.settle_rank(self.worker.dp_rank, doubt));
        }
    }
}

/// The rank that a batch is about; `None` if it is too high. A batch's own word counts, except where it contradicts
/// what was registered: the publisher is registered as another rank than 0, or somebody else speaks for the rank named.
fn dp_rank(model: &Model, rank: &Rank, batch: &Batch<'_>) -> Option<u32> {
    let registered = rank.worker().dp_rank;
    let Some(named) = batch.rank else { return Some(registered) };
    let named = u32::try_from(named).ok().filter(|&named| named <= MAX_RANK)?;
    let contradicts =
        || registered != 0 || model.ranks().speaks_another(Worker::new(rank.worker().id, named), rank.worker());
    if named != registered && contradicts() {
        rank.contradicted(named);
        return Some(registered);
    }
    Some(named)
}

/// What is remembered of one of the publisher's workers, which the index gets to know if it does not yet.
pub(super) fn memory<'c>(
    model: &Model,
    rank: &Rank,
    content: &'c mut Content,
    dp_rank: u32,
) -> Result<&'c mut Memory, Closed> {
    rank.note_rank(dp_rank);
    if !content.workers.contains_key(&dp_rank) {
        let mut memory = Memory { places: content.shared.then(Places::default), ..Memory::default() };
        let worker = Worker::new(rank.worker().id, dp_rank);
        writer(model, rank, worker, &mut memory, 0).begin()?;
        content.workers.insert(dp_rank, memory);
    }
    Ok(content.workers.get_mut(&dp_rank).expect("it is there, or was just entered"))
}

pub(super) fn writer<'a>(model: &'a Model, rank: &Rank, worker: Worker, memory: &'a mut Memory, id: u64) -> Writer<'a> {
    let (seat, count_copies) = (rank.seat(), rank.counts_copies());
    Writer { index: model.index(), worker, memory, seat, count_copies, id }
}

/// Returns how many blocks it names.
fn count(rank: &Rank, change: &Change<'_>) -> u64 {
    let (kind, blocks) = match change {
        Change::Stored { blocks, .. } => (Count::Stored, blocks.len()),
        Change::Placed { hashes, .. } => (Count::Stored, hashes.len()),
        Change::Removed { hashes, .. } => (Count::Removed, hashes.len()),
        Change::Cleared => (Count::Cleared, 0),
    };
    rank.add(kind, 1);
    rank.add(Count::Blocks, blocks as u64);
    blocks as u64
}

/// Drops what the index has of a publisher, whose next batch will be its first.
pub(in crate::service) fn drop_all(model: &Model, rank: &Rank) -> Result<(), Closed> {
    let _applying = model.applying();
    drop_content(model, rank, &mut rank.position())
}

fn drop_content(model: &Model, rank: &Rank, position: &mut Position) -> Result<(), Closed> {
    let mut content = rank.content();
    for worker in rank.workers() {
        if let Some(memory) = content.workers.get_mut(&worker.dp_rank) {
            writer(model, rank, worker, memory, 0).clear()?;
        }
    }
    position.fingerprint = None;
    rank.advance(position, 0);
    rank.trust();
    Ok(())
}

/// A publisher has been away for too long: drops what it stored.
pub(in crate::service) fn expire(model: &Model, rank: &Rank) -> Result<(), Closed> {
    let _applying = model.applying();
    let mut position = rank.position();
    // Unless it has just spoken, over HTTP.
    if rank.link() == Link::Unreachable {
        tracing::warn!(worker = %rank.worker(), "the publisher is gone; what it held is dropped");
        drop_content(model, rank, &mut position)?;
        rank.add(Count::Expired, 1);
        rank.set_link(Link::Gone);
    }
    Ok(())
}

/// Removes a publisher's workers from the index, on all tiers: what they may still say is rejected until a listener or an
/// event over HTTP speaks for them anew. Where another publisher speaks for them, too, what that one said stays. Its
/// listener must have been stopped.
///
/// # Errors
/// The index was shut down.
pub fn forget(model: &Model, rank: &Rank) -> Result<(), Closed> {
    if model.ranks().has_company(rank) {
        return drop_all(model, rank);
    }
    let _applying = model.applying();
    let _position = rank.position();
    let mut content = rank.content();
    for (dp_rank, memory) in std::mem::take(&mut *content).workers {
        remove(model, Worker::new(rank.worker().id, dp_rank), &memory)?;
    }
    rank.trust();
    Ok(())
}

fn remove(model: &Model, worker: Worker, memory: &Memory) -> Result<(), Closed> {
    for tier in used(memory.places.as_ref()) {
        model.index().remove_worker(tier.worker(worker)).map_err(|_| Closed)?;
    }
    Ok(())
}

/// Adds a publisher of `worker`, see [`Ranks::enter`](crate::service::Ranks). `None` if there are too many.
///
/// # Errors
/// The index was shut down.
pub(in crate::service) fn enter(
    model: &Model,
    worker: Worker,
    endpoint: Option<&str>,
    copies: Copies,
) -> Result<Option<Arc<Rank>>, Closed> {
    let others = model.ranks().of(worker);
    if let Some(first) = others.first()
        && others.iter().all(|other| other.endpoint() != endpoint)
    {
        share(model, first)?;
    }
    Ok(model.ranks().enter(worker, endpoint, copies))
}

/// Another publisher comes beside this one: from now on it is remembered who said what.
fn share(model: &Model, rank: &Rank) -> Result<(), Closed> {
    let _applying = model.applying();
    let _position = rank.position();
    let mut content = rank.content();
    content.shared = true;
    for (&dp_rank, memory) in &mut content.workers {
        writer(model, rank, Worker::new(rank.worker().id, dp_rank), memory, 0).share()?;
    }
    Ok(())
}

/// Another publisher is registered as a worker that this one's batches named: what this one said of it goes.
pub(in crate::service) fn give_up(model: &Model, rank: &Rank, worker: Worker) -> Result<(), Closed> {
    let _applying = model.applying();
    let _position = rank.position();
    if let Some(memory) = rank.content().workers.remove(&worker.dp_rank) {
        remove(model, worker, &memory)?;
    }
    rank.drop_rank(worker.dp_rank);
    // What it named so from the beginning was meant for its own rank.
    rank.doubt(Doubt::JoinedLate);
    Ok(())
}

/// The batches from `from` on, and before `to`, are not to be had. Where both are the same, nobody can say whether any are
/// missing.
pub(super) fn lose(model: &Model, rank: &Rank, from: u64, to: u64) {
    let _applying = model.applying();
    let mut position = rank.position();
    position.fingerprint = None;
    rank.advance(&mut position, to);
    // Nothing that was removed before the first batch was ever in the index.
    let beginning = if from == 0 { Some(Doubt::JoinedLate) } else { None };
    rank.doubt(beginning.unwrap_or(if from == to { Doubt::Unheard } else { Doubt::Gap }));
}

/// Hands over what came in the form of Dynamo's router, and returns when the index has accepted it. All of `events` are
/// about ranks of the instance that `rank` stands for.
///
/// # Errors
/// The index was shut down.
pub fn router_events<'e>(
    model: &Model,
    rank: &Rank,
    events: impl IntoIterator<Item = &'e RouterEvent>,
) -> Result<Applied, Closed> {
    let _applying = model.applying();
    let mut position = rank.position();
    let mut content = rank.content();
    let mut applied = Applied::default();
    for said in events {
        let event = &said.event;
        rank.spoke();
        rank.note_seen(None);
        follow(rank, &mut position, event.event_id);
        let outcome = match said.change() {
            Ok(change) => {
                let memory = memory(model, rank, &mut content, event.dp_rank)?;
                let worker = Worker::new(rank.worker().id, event.dp_rank);
                Target { model, rank, worker, memory }.make(change, event.event_id)?
            }
            Err(why) => {
                rank.skip(why);
                if let Some(doubt) = why.doubt() {
                    rank.doubt_rank(event.dp_rank, doubt);
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
fn follow(rank: &Rank, position: &mut Position, id: u64) {
    let expected = position.next_sequence;
    if expected == 0 {
        if id > 1 {
            rank.doubt(Doubt::JoinedLate);
        }
    } else if id > expected {
        rank.add(Count::Gaps, 1);
        rank.doubt(Doubt::EventIds);
    } else if id + 1 < expected {
        rank.doubt(Doubt::EventIds);
    }
    rank.advance(position, id.saturating_add(1));
}

/// The events that bring an importer to the state of `events`, an export of an index.
pub fn dump(events: impl IntoIterator<Item = Event>) -> impl Iterator<Item = RouterEvent> {
    events.into_iter().filter_map(|event| {
        let (worker, tier) = Tier::split(event.worker);
        match event.data {
            EventData::WorkerAdded | EventData::WorkerRemoved | EventData::CopiesCounted => None,
            data => Some(RouterEvent::of(worker, tier, event.id, data)),
        }
    })
}
