//! Handing a publisher's batches to the index.

use super::worker_feed::WorkerFeed;
use crate::event::Worker;
use crate::index::Closed;
use crate::service::doubt::Doubt;
use crate::service::models::Model;
use crate::service::publisher::{Count, Publisher, Skip, fingerprint};
use crate::service::tier::MAX_RANK;
use crate::service::wire::{self, Batch};

/// Hands the batch with this sequence number to the index, and returns when the index has accepted it. A [`Listener`]
/// does this with every batch; the caller decides whose turn it is.
///
/// If the batch cannot be decoded, only the publisher's position moves on, and a doubt is raised, because nobody knows
/// what was in the batch. Waits while the mailbox is full or a snapshot is being taken.
///
/// # Errors
/// The index was shut down.
///
/// [`Listener`]: super::Listener
pub fn apply(model: &Model, publisher: &Publisher, sequence: u64, payload: &[u8]) -> Result<(), Closed> {
    apply_batch(model, publisher, sequence, payload, fingerprint(payload))
}

/// Like [`apply`], where the batch's fingerprint is known.
pub(super) fn apply_batch(
    model: &Model,
    publisher: &Publisher,
    sequence: u64,
    payload: &[u8],
    fingerprint: u64,
) -> Result<(), Closed> {
    let decoded = Batch::decode(payload);
    let _applying = model.applying();
    let mut position = publisher.position();
    // If the rest fails, the batch is not tried again: it would fail again.
    (position.next_sequence, position.fingerprint) = (sequence + 1, None);
    if sequence == 0 {
        // Nothing came before the first batch, so nothing of it can have been missed.
        publisher.settle(Doubt::JoinedLate);
    }
    match &decoded {
        Ok(batch) => hand_over(model, publisher, batch, sequence)?,
        Err(error) => {
            tracing::warn!(worker = %publisher.worker(), sequence, "skipped a batch: {error}");
            publisher.add(Count::Undecodable, 1);
            publisher.doubt(Doubt::Undecodable);
        }
    }
    position.fingerprint = Some(fingerprint);
    publisher.add(Count::Batches, 1);
    // Others see it only now: whoever waits for this batch takes it for handed over and counted.
    publisher.advance(&mut position, sequence + 1);
    Ok(())
}

fn hand_over(model: &Model, publisher: &Publisher, batch: &Batch<'_>, sequence: u64) -> Result<(), Closed> {
    publisher.note_seen(Some(batch.ts));
    (0..batch.unknown.times).for_each(|_| publisher.skip(Skip::UnknownTag));
    (0..batch.malformed.times).for_each(|_| publisher.skip(Skip::Malformed));
    if let Some(error) = batch.error {
        tracing::warn!(
            worker = %publisher.worker(), sequence, times = batch.malformed.times, "malformed events: {error}"
        );
    }
    let mut records = publisher.records();
    let opened = match dp_rank(model, publisher, batch) {
        Some(dp_rank) => WorkerFeed::open(model, publisher, &mut records, dp_rank)?.map(|feed| (feed, dp_rank)),
        None => Err(Skip::Rank),
    };
    let (mut feed, dp_rank) = match opened {
        Ok(opened) => opened,
        Err(why) => {
            batch.events.iter().for_each(|_| publisher.skip(why));
            why.doubt().into_iter().for_each(|doubt| publisher.doubt(doubt));
            return Ok(());
        }
    };
    // Events that could not be read may have said anything, so the worker is doubted.
    let unread = [(batch.unknown, Doubt::UnknownEvent), (batch.malformed, Doubt::Malformed)];
    unread.iter().filter(|(unread, _)| unread.times > 0).for_each(|&(_, doubt)| publisher.doubt_rank(dp_rank, doubt));
    for (place, event) in batch.events.iter().enumerate() {
        feed.take(batch, event, sequence.wrapping_add(1))?;
        if *event == wire::Event::Cleared {
            // A clear ends all doubts, but what could not be read after it is doubted again.
            unread.iter().filter(|(unread, _)| unread.is_behind(place)).for_each(|&(_, doubt)| {
                publisher.doubt_rank(dp_rank, doubt);
            });
        }
    }
    Ok(())
}

/// Returns the rank that a batch is about; `None` if it is too high.
///
/// The rank that the batch names counts, unless it contradicts the registration: the publisher was registered as
/// another rank than 0, or another publisher speaks for the named rank.
fn dp_rank(model: &Model, publisher: &Publisher, batch: &Batch<'_>) -> Option<u32> {
    let registered = publisher.worker().dp_rank;
    let Some(named) = batch.rank else { return Some(registered) };
    let named = u32::try_from(named).ok().filter(|&named| named <= MAX_RANK)?;
    let contradicts = || {
        let worker = Worker::new(publisher.worker().id, named);
        registered != 0 || model.publishers().speaks_another(worker, publisher.worker())
    };
    if named != registered && contradicts() {
        publisher.note_contradiction(named);
        return Some(registered);
    }
    Some(named)
}
