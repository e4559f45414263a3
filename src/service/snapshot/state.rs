//! The state of the service into a snapshot, and back.
//!
//! Every publisher is saved as of a border between two of its batches, one publisher after another: between two of them
//! the others go on. So ingest pauses for as long as it takes to read one publisher's blocks out of its index, and no
//! more than these are in memory at a time, beside what is being compressed.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::{Reason, SnapshotError};
use super::file::{Reader, Writer};
use super::format::{Record, SavedModel, SavedRank};
use crate::event::{Event, EventData, Worker};
use crate::index::{Builder, Closed};
use crate::service::engine::Engine;
use crate::service::model::{Key, Model, Models};
use crate::service::rank::{Rank, Resume};
use crate::service::tier::Tier;

/// Blocks that are imported at a time: enough that publishing costs little, and 16 MiB.
const SLICE: usize = 1 << 20;

/// What a snapshot took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Blocks in it, summed over the workers.
    pub blocks: u64,
    /// Length of the file.
    pub bytes: u64,
    /// How long it took.
    pub took: Duration,
    /// How long ingest of a model was paused at most.
    pub longest_pause: Duration,
}

/// Writes all models with their publishers to `path`, replacing the snapshot of before; and of these the ones in
/// `engines` with where they publish.
///
/// # Errors
/// The file cannot be written, or an index was shut down; the snapshot of before is still there.
pub fn save(path: &Path, models: &Models, engines: &[Engine]) -> Result<Saved, SnapshotError> {
    let began = Instant::now();
    let mut saved = Saved { blocks: 0, bytes: 0, took: Duration::ZERO, longest_pause: Duration::ZERO };
    let mut writer = Writer::create(path)?;
    let closed = |Closed| SnapshotError { path: path.to_owned(), reason: Reason::Closed };
    for model in models.all().iter() {
        let ranks = model.ranks().all();
        let Key { model: name, group, tenant } = model.key().clone();
        writer.model(&SavedModel { model: name, group, tenant, block_size: model.block_size() })?;
        for worker in strangers(model, &ranks) {
            let events = model.index().export_worker(worker).map_err(closed)?;
            saved.blocks += put(&mut writer, &events)?;
        }
        for rank in ranks.iter() {
            let paused = Instant::now();
            let (resume, parts) = at_rest(model, rank).map_err(closed)?;
            saved.longest_pause = saved.longest_pause.max(paused.elapsed());
            let Worker { id: instance, dp_rank } = rank.worker();
            let engine = engines.iter().find(|engine| engine.worker() == rank.worker() && engine.key() == *model.key());
            let unwritable = |error| SnapshotError { path: path.to_owned(), reason: Reason::Unwritable(error) };
            let engine = engine.map(serde_json::to_string).transpose().map_err(|error| unwritable(error.into()))?;
            let engine = engine.unwrap_or_default();
            let resume = postcard::to_stdvec(&resume).map_err(|error| unwritable(io::Error::other(error)))?;
            writer.rank(&SavedRank { instance, dp_rank, engine, resume })?;
            for events in parts {
                saved.blocks += put(&mut writer, &events)?;
            }
        }
    }
    Ok(Saved { bytes: writer.finish()?, took: began.elapsed(), ..saved })
}

/// Workers whose blocks no publisher speaks for: what a peer had, mostly. Before the publishers, because one of them may
/// come to speak for a worker while this goes on, and what comes last counts.
pub(in crate::service) fn strangers(model: &Model, ranks: &[Arc<Rank>]) -> Vec<Worker> {
    let spoken_for: BTreeSet<_> = ranks.iter().flat_map(|rank| rank.workers()).collect();
    let all = model.index().status().workers.into_iter().map(|worker| worker.worker);
    all.filter(|&worker| !spoken_for.contains(&Tier::split(worker).0)).collect()
}

/// A publisher between two batches: where it is, and what its workers hold, tier by tier.
fn at_rest(model: &Model, rank: &Rank) -> Result<(Resume, Vec<Vec<Event>>), Closed> {
    let _at_rest = model.at_rest();
    let workers = rank.workers().into_iter().flat_map(|worker| Tier::ALL.map(|tier| tier.worker(worker)));
    let parts = workers.map(|worker| model.index().export_worker(worker)).collect::<Result<_, _>>()?;
    Ok((rank.checkpoint(), parts))
}

/// Returns how many blocks are stored.
fn put(writer: &mut Writer, events: &[Event]) -> Result<u64, SnapshotError> {
    events.iter().try_for_each(|event| writer.event(event))?;
    Ok(events.iter().map(stored).sum::<usize>() as u64)
}

fn stored(event: &Event) -> usize {
    if matches!(event.data, EventData::Stored { .. }) { event.data.len() } else { 0 }
}

/// Reads a snapshot into models made for it, at most so many and with indexes of these settings. Their publishers are
/// where they were, and the engines among them are to be listened to again; one that speaks over HTTP cannot be asked
/// for what it said since then, and so is degraded. Needs some 40 MiB beside the indexes.
///
/// # Errors
/// The file cannot be read, is not a snapshot of this version, is damaged, or says what an index with these settings does
/// not take. Nothing of it remains then.
pub fn restore(path: &Path, settings: Builder, most: usize) -> Result<(Models, Vec<Engine>), SnapshotError> {
    let refused =
        |what: String, why: String| SnapshotError { path: path.to_owned(), reason: Reason::Refused { what, why } };
    let mut reader = Reader::open(path)?;
    let models = Models::new(settings, most);
    let mut engines = Vec::new();
    let mut current: Option<Arc<Model>> = None;
    let mut slice = Slice::default();
    loop {
        let record = reader.next_record()?;
        let goes_on = matches!(record, Some(Record::Event(_))) && slice.blocks < SLICE;
        if let Some(model) = current.as_ref().filter(|_| !goes_on) {
            let events = std::mem::take(&mut slice).events;
            let imported = model.index().import(events);
            imported.map_err(|error| refused(format!("what {} holds", model.key()), error.to_string()))?;
        }
        match record {
            None => return Ok((models, engines)),
            Some(Record::Model(SavedModel { model, group, tenant, block_size })) => {
                let key = Key { model, group, tenant };
                let added = models.get_or_add(&key, block_size);
                current = Some(added.map_err(|error| refused(format!("the index of {key}"), error.to_string()))?);
            }
            Some(Record::Rank(rank)) => {
                let what = format!("publisher {}/{}", rank.instance, rank.dp_rank);
                let model = current.as_ref().ok_or_else(|| refused(what.clone(), "it has no model".to_owned()))?;
                engines.extend(publisher(model, &rank).map_err(|why| refused(what, why))?);
            }
            Some(Record::Event(event)) => {
                if current.is_none() {
                    return Err(refused(format!("worker {}", event.worker), "it has no model".to_owned()));
                }
                slice.blocks += event.data.len();
                slice.events.push(event);
            }
        }
    }
}

/// What is imported together.
#[derive(Default)]
struct Slice {
    events: Vec<Event>,
    blocks: usize,
}

/// Puts a publisher where it was. Returns the engine that it is, if it is one.
fn publisher(model: &Model, saved: &SavedRank) -> Result<Option<Engine>, String> {
    let worker = Worker::new(saved.instance, saved.dp_rank);
    let mut resume: Resume = postcard::from_bytes(&saved.resume).map_err(|error| error.to_string())?;
    let (rank, engine) = if saved.engine.is_empty() {
        resume.degraded = true;
        (Rank::http(worker), None)
    } else {
        let engine: Engine = serde_json::from_str(&saved.engine).map_err(|error| error.to_string())?;
        engine.check().map_err(|error| error.to_string())?;
        (Rank::zmq(worker, engine.endpoint.clone()), Some(engine))
    };
    rank.resume(resume);
    model.ranks().put(&Arc::new(rank));
    Ok(engine)
}
