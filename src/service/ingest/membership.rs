//! Publishers that come, go, restart and lose batches.

use std::sync::Arc;

use super::tier_writer::TierWriter;
use crate::event::Worker;
use crate::index::Closed;
use crate::service::doubt::Doubt;
use crate::service::models::Model;
use crate::service::publisher::{Connection, Copies, Count, Position, Publisher, TierMap, WorkerRecord};

/// Adds a publisher of `worker`, see [`Publishers::enter`](crate::service::Publishers). Returns `None` if the worker
/// has too many already.
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

/// Prepares for a second publisher of the same worker: from now on, the record says which of them stored which block.
fn share(model: &Model, publisher: &Publisher) -> Result<(), Closed> {
    let _applying = model.applying();
    let _position = publisher.position();
    let mut records = publisher.records();
    records.shared = true;
    for (&dp_rank, record) in &mut records.workers {
        let worker = Worker::new(publisher.worker().id, dp_rank);
        TierWriter::new(model.index(), publisher, worker, record, 0).share()?;
    }
    Ok(())
}

/// Takes a worker from a publisher whose batches named it, because another publisher is registered as that worker.
pub(in crate::service) fn give_up(model: &Model, publisher: &Publisher, worker: Worker) -> Result<(), Closed> {
    let _applying = model.applying();
    let _position = publisher.position();
    if let Some(record) = publisher.records().workers.remove(&worker.dp_rank) {
        remove(model, worker, &record)?;
    }
    publisher.drop_rank(worker.dp_rank);
    // From the beginning, batches that named this worker were meant for the publisher's own rank, which misses them.
    publisher.doubt(Doubt::JoinedLate);
    Ok(())
}

/// Drops everything that a publisher stored. Its next batch will be its first.
pub(in crate::service) fn drop_all(model: &Model, publisher: &Publisher) -> Result<(), Closed> {
    let _applying = model.applying();
    clear(model, publisher, &mut publisher.position())
}

fn clear(model: &Model, publisher: &Publisher, position: &mut Position) -> Result<(), Closed> {
    let mut records = publisher.records();
    for worker in publisher.workers() {
        if let Some(record) = records.workers.get_mut(&worker.dp_rank) {
            TierWriter::new(model.index(), publisher, worker, record, 0).clear()?;
        }
    }
    position.fingerprint = None;
    publisher.advance(position, 0);
    publisher.trust();
    Ok(())
}

/// Drops everything that a publisher stored which has been unreachable for too long.
pub(in crate::service) fn expire(model: &Model, publisher: &Publisher) -> Result<(), Closed> {
    let _applying = model.applying();
    let mut position = publisher.position();
    // It may have spoken over HTTP just now.
    if publisher.connection() == Connection::Unreachable {
        tracing::warn!(worker = %publisher.worker(), "the publisher is gone: dropping what it stored");
        clear(model, publisher, &mut position)?;
        publisher.add(Count::Expired, 1);
        publisher.set_connection(Connection::Gone);
    }
    Ok(())
}

/// Removes a publisher's workers from the index, on all tiers. Further events about them are rejected until a listener
/// or an event over HTTP adds them again. If another publisher speaks for the same workers, what that one stored stays.
///
/// The publisher's listener must have been stopped.
///
/// # Errors
/// The index was shut down.
pub(in crate::service) fn forget(model: &Model, publisher: &Publisher) -> Result<(), Closed> {
    if model.publishers().has_company(publisher) {
        return drop_all(model, publisher);
    }
    let _applying = model.applying();
    let _position = publisher.position();
    let mut records = publisher.records();
    for (dp_rank, record) in std::mem::take(&mut *records).workers {
        remove(model, Worker::new(publisher.worker().id, dp_rank), &record)?;
    }
    publisher.trust();
    Ok(())
}

fn remove(model: &Model, worker: Worker, record: &WorkerRecord) -> Result<(), Closed> {
    model.allowance().drop_worker(worker);
    for tier in TierMap::used(record.tier_map.as_ref()) {
        model.index().remove_worker(tier.worker(worker)).map_err(|_| Closed)?;
    }
    Ok(())
}

/// Notes that the batches from `from` on and before `to` are lost. If both are equal, it is not known whether any are
/// missing.
pub(super) fn lose(model: &Model, publisher: &Publisher, from: u64, to: u64) {
    let _applying = model.applying();
    let mut position = publisher.position();
    position.fingerprint = None;
    publisher.advance(&mut position, to);
    publisher.doubt(match from {
        // Whatever was removed in the batches before the first one that is known was never in the index.
        0 => Doubt::JoinedLate,
        _ if from == to => Doubt::Unheard,
        _ => Doubt::Gap,
    });
}
