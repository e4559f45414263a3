//! Handing batches over: decoded, normalised, to the index.

use twox_hash::XxHash3_64;

use super::Memory;
use super::normalise::Normaliser;
use super::router::RouterEvent;
use super::tiers::{Change, Writer, used};
use crate::event::{Event, EventData, Worker};
use crate::index::Closed;
use crate::service::rank::{Count, Rank, Resume, Skip};
use crate::service::wire::{Batch, Error};
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
/// A batch that cannot be decoded changes nothing but the position and, because nobody knows what was in it, that the
/// rank is degraded. Waits while the mailbox is full or a snapshot is being taken.
///
/// # Errors
/// The index was shut down.
///
/// [`Listener`]: super::Listener
pub fn apply(model: &Model, rank: &Rank, sequence: u64, payload: &[u8]) -> Result<(), Closed> {
    let decoded = Batch::decode(payload);
    let _applying = model.applying();
    let mut position = rank.position();
    match &decoded {
        Ok(batch) => hand_over(model, rank, &mut position, batch, sequence)?,
        Err(error) => undecodable(rank, &mut position, sequence, error),
    }
    position.fingerprint = Some(fingerprint(payload));
    rank.advance(&mut position, sequence + 1);
    rank.add(Count::Batches, 1);
    Ok(())
}

fn undecodable(rank: &Rank, position: &mut Resume, sequence: u64, error: &Error) {
    tracing::warn!(worker = %rank.worker(), sequence, "batch left out: {error}");
    rank.add(Count::Undecodable, 1);
    rank.set_degraded(position, true);
}

fn hand_over(
    model: &Model,
    rank: &Rank,
    position: &mut Resume,
    batch: &Batch<'_>,
    sequence: u64,
) -> Result<(), Closed> {
    rank.note_seen(Some(batch.ts));
    (0..batch.unknown).for_each(|_| rank.skip(Skip::UnknownTag));
    if let Some((times, error)) = batch.malformed {
        tracing::warn!(worker = %rank.worker(), sequence, times, "malformed events, the first: {error}");
        (0..times).for_each(|_| rank.skip(Skip::Malformed));
        rank.set_degraded(position, true);
    }
    let Some(dp_rank) = dp_rank(rank, batch) else {
        batch.events.iter().for_each(|_| rank.skip(Skip::Rank));
        return Ok(());
    };
    let worker = Worker::new(rank.worker().id, dp_rank);
    let id = sequence.wrapping_add(1);
    let (mut cleared, mut refused) = (false, false);
    let memory = memory(model, rank, position, worker)?;
    for event in &batch.events {
        let mut normaliser = Normaliser { hasher: model.hasher(), rank, memory: &mut *memory };
        match normaliser.change(batch, event).and_then(|change| admit(model, worker, change)) {
            Ok(change) => {
                if change == Change::Cleared {
                    (cleared, refused) = (true, false);
                }
                count(rank, &change);
                let mut writer = Writer { index: model.index(), worker, memory: &mut *memory, id };
                let unknown = writer.apply(change)?;
                (0..unknown).for_each(|_| rank.skip(Skip::UnknownHash));
            }
            Err(why) => {
                refused |= why == Skip::Budget;
                rank.skip(why);
            }
        }
    }
    // What one publisher says of several ranks is cleared rank by rank, and what is missing may be another's.
    if cleared && position.memory.len() == 1 {
        rank.set_degraded(position, false);
    }
    if refused {
        rank.set_degraded(position, true);
    }
    Ok(())
}

/// A change, unless there is no memory for what it adds.
fn admit<'a>(model: &Model, worker: Worker, change: Change<'a>) -> Result<Change<'a>, Skip> {
    match &change {
        Change::Stored { .. } | Change::Placed { .. } if model.room().is_exhausted() => return Err(Skip::Budget),
        Change::Stored { blocks, .. } => model.room().note(worker, blocks),
        Change::Placed { .. } | Change::Removed { .. } | Change::Cleared => {}
    }
    Ok(change)
}

/// The batch's own rank, or the one that was registered.
fn dp_rank(rank: &Rank, batch: &Batch<'_>) -> Option<u32> {
    match batch.rank {
        None => Some(rank.worker().dp_rank),
        Some(own) => u32::try_from(own).ok().filter(|&own| own <= MAX_RANK),
    }
}

/// What is remembered of one of the publisher's workers, which the index gets to know if it does not yet.
fn memory<'p>(model: &Model, rank: &Rank, position: &'p mut Resume, worker: Worker) -> Result<&'p mut Memory, Closed> {
    if !position.memory.contains_key(&worker.dp_rank) {
        model.index().add_worker(worker).map_err(|_| Closed)?;
        rank.note_rank(worker.dp_rank);
    }
    Ok(position.memory.entry(worker.dp_rank).or_default())
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
pub(super) fn drop_all(model: &Model, rank: &Rank) -> Result<(), Closed> {
    let _applying = model.applying();
    let mut position = rank.position();
    for (&dp_rank, memory) in &mut position.memory {
        let worker = Worker::new(rank.worker().id, dp_rank);
        Writer { index: model.index(), worker, memory, id: 0 }.clear()?;
    }
    position.fingerprint = None;
    rank.advance(&mut position, 0);
    rank.set_degraded(&mut position, false);
    Ok(())
}

/// Removes a publisher's workers from the index, on all tiers: what they may still say is rejected until a listener or an
/// event over HTTP speaks for them anew. Its listener must have been stopped.
///
/// # Errors
/// The index was shut down.
pub fn forget(model: &Model, rank: &Rank) -> Result<(), Closed> {
    let _applying = model.applying();
    let mut position = rank.position();
    for (&dp_rank, memory) in &position.memory {
        let worker = Worker::new(rank.worker().id, dp_rank);
        for tier in used(memory.tiers.as_ref()) {
            model.index().remove_worker(tier.worker(worker)).map_err(|_| Closed)?;
        }
    }
    position.memory.clear();
    rank.set_degraded(&mut position, false);
    Ok(())
}

/// Batches before this one are not to be had.
pub(super) fn lose(model: &Model, rank: &Rank, next_sequence: u64) {
    let _applying = model.applying();
    let mut position = rank.position();
    position.fingerprint = None;
    rank.advance(&mut position, next_sequence);
    rank.set_degraded(&mut position, true);
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
    let mut applied = Applied::default();
    for said in events {
        let event = &said.event;
        rank.note_seen(None);
        let worker = Worker::new(rank.worker().id, event.dp_rank);
        match said.change().and_then(|change| admit(model, worker, change)) {
            Ok(change) => {
                let blocks = count(rank, &change);
                let cleared = change == Change::Cleared;
                let memory = memory(model, rank, &mut position, worker)?;
                let unknown = Writer { index: model.index(), worker, memory, id: event.event_id }.apply(change)?;
                (0..unknown).for_each(|_| rank.skip(Skip::UnknownHash));
                rank.advance(&mut position, event.event_id.saturating_add(1));
                if cleared {
                    rank.set_degraded(&mut position, false);
                }
                applied.events += 1;
                applied.blocks += blocks;
            }
            Err(why) => {
                if why == Skip::Budget {
                    rank.set_degraded(&mut position, true);
                }
                rank.skip(why);
                applied.skipped += 1;
            }
        }
    }
    Ok(applied)
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
