//! Publishers that come, go, restart and lose batches.

use std::sync::Arc;

use super::tier_writer::TierWriter;
use crate::event::Worker;
use crate::index::Closed;
use crate::service::doubt::Doubt;
use crate::service::models::{Model, NoRoom};
use crate::service::publisher::{Connection, Copies, Count, Position, Publisher, TierMap, WorkerRecord};

/// Adds a publisher of `worker` at this endpoint, see [`Publishers`](crate::service::Publishers). The inner error says
/// that there is no room for it.
///
/// # Errors
/// The index was shut down.
pub(in crate::service) fn enter(
    model: &Model,
    worker: Worker,
    endpoint: &str,
    copies: Copies,
) -> Result<Result<Arc<Publisher>, NoRoom>, Closed> {
    let others = model.publishers().of(worker);
    if let Some(first) = others.first()
        && others.iter().all(|other| other.endpoint() != Some(endpoint))
    {
        share(model, first)?;
    }
    Ok(model.publishers().enter(worker, endpoint, copies))
}

/// Returns the publishers over HTTP of these workers, and adds those that are missing, as far as there is room. While
/// the memory budget is exceeded, there is no room.
///
/// # Errors
/// The index was shut down.
pub(in crate::service) fn enter_over_http(
    model: &Model,
    workers: &[Worker],
) -> Result<Vec<Result<Arc<Publisher>, NoRoom>>, Closed> {
    if model.allowance().is_exhausted() {
        let known = |&worker| model.publishers().over_http(worker).ok_or(NoRoom::Memory);
        return Ok(workers.iter().map(known).collect());
    }
    for &worker in workers {
        if let Some(other) = model.publishers().get(worker)
            && model.publishers().over_http(worker).is_none()
        {
            share(model, &other)?;
        }
    }
    Ok(model.publishers().enter_over_http(workers))
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
        model.publishers().forget_named(1);
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

/// Removes a publisher's workers from the index, on all tiers, and the publisher from the model. Further events about
/// these workers are rejected until a listener or an event over HTTP adds them again. If another publisher speaks for
/// them, what that one stored stays.
///
/// The publisher's listener must have been stopped.
///
/// # Errors
/// The index was shut down.
pub(in crate::service) fn forget(model: &Model, publisher: &Publisher) -> Result<(), Closed> {
    let _applying = model.applying();
    remove_publisher(model, publisher, &mut publisher.position())
}

/// Like [`forget`], but only if the publisher is not heard: it never was, or its connection is lost. Returns whether
/// that is so.
///
/// # Errors
/// The index was shut down.
pub(in crate::service) fn forget_unheard(model: &Model, publisher: &Publisher) -> Result<bool, Closed> {
    let _applying = model.applying();
    let mut position = publisher.position();
    // It may have spoken over HTTP just now.
    let is_heard = matches!(publisher.connection(), Connection::Live | Connection::Replaying);
    if !is_heard {
        tracing::warn!(worker = %publisher.worker(), "the publisher is gone: dropping what it stored");
        remove_publisher(model, publisher, &mut position)?;
    }
    Ok(!is_heard)
}

fn remove_publisher(model: &Model, publisher: &Publisher, position: &mut Position) -> Result<(), Closed> {
    publisher.leave(position);
    let forgotten = if model.publishers().has_company(publisher) {
        clear(model, publisher, position)
    } else {
        remove_all(model, publisher)
    };
    model.publishers().remove(publisher);
    forgotten
}

fn remove_all(model: &Model, publisher: &Publisher) -> Result<(), Closed> {
    let records = std::mem::take(&mut *publisher.records());
    model.publishers().forget_named(records.others(publisher.worker().dp_rank));
    publisher.trust();
    for (dp_rank, record) in records.workers {
        let worker = Worker::new(publisher.worker().id, dp_rank);
        model.allowance().forget(worker);
        remove(model, worker, &record)?;
    }
    Ok(())
}

fn remove(model: &Model, worker: Worker, record: &WorkerRecord) -> Result<(), Closed> {
    model.allowance().forget(worker);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::{Index, Matches};
    use crate::service::ingest::{DynamoBlock, DynamoData, DynamoEvent, NumberedEvent, StorageTier, dynamo_events};
    use crate::service::models::{Key, Models};

    const KNOWN: Worker = Worker::new(1, 0);
    const NEW: Worker = Worker::new(2, 0);

    fn model() -> Arc<Model> {
        Models::new(Index::builder(), 1).get_or_add(&Key::new("m"), 4).expect("new")
    }

    #[test]
    fn nobody_new_enters_while_the_memory_budget_is_exceeded() {
        let model = model();
        let known = enter_over_http(&model, &[KNOWN]).expect("open").remove(0).expect("room");
        model.allowance().set_exhausted(true, false);
        let entered = enter_over_http(&model, &[KNOWN, NEW]).expect("open");
        assert!(Arc::ptr_eq(entered[0].as_ref().expect("it is known"), &known));
        assert_eq!(entered[1].as_ref().map(|new| new.worker()), Err(&NoRoom::Memory));
        model.allowance().set_exhausted(false, false);
        assert!(enter_over_http(&model, &[NEW]).expect("open")[0].is_ok());
    }

    /// A request may have found the publisher just before it was unregistered. If its events were applied, nobody could
    /// remove the blocks any more.
    #[test]
    fn nothing_is_indexed_of_a_publisher_that_has_left() {
        let model = model();
        let publisher = enter_over_http(&model, &[KNOWN]).expect("open").remove(0).expect("room");
        let blocks = vec![DynamoBlock { block_hash: 1, tokens_hash: 11 }];
        let event = NumberedEvent { event_id: 1, data: DynamoData::Stored { parent_hash: None, blocks }, dp_rank: 0 };
        let event = DynamoEvent { worker_id: 1, storage_tier: StorageTier::Device, event };
        forget(&model, &publisher).expect("open");
        assert_eq!(dynamo_events(&model, &publisher, [&event]), Err(Closed));
        let depth = || {
            model.index().flush().expect("open");
            let mut matches = Matches::new();
            model.index().find(&[11], &mut matches);
            matches.depth(KNOWN)
        };
        assert_eq!((depth(), model.publishers().all().len()), (0, 0));
        let again = enter_over_http(&model, &[KNOWN]).expect("open").remove(0).expect("room");
        dynamo_events(&model, &again, [&event]).expect("it is back");
        assert_eq!(depth(), 1);
    }
}
