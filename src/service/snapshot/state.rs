//! Saving the state of the service to a snapshot, and restoring it.
//!
//! Publishers are saved one after another, each as it is between two of its batches, and ingest continues in between.
//! So ingest pauses only for as long as it takes to export the blocks of one publisher, and no more than these are in
//! memory at a time, plus what is being compressed.

use std::io::{self, Read, Seek};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::claim::check;
use super::error::{Reason, SnapshotError};
use super::format::{Record, SavedModel, SavedPublisher};
use super::reader::Reader;
use super::writer::Writer;
use crate::event::{Event, EventData, Worker};
use crate::index::Closed;
use crate::service::doubt::Doubt;
use crate::service::engines::Engine;
use crate::service::models::{Key, Model, Models};
use crate::service::publisher::{Publisher, Resume, SEATS, WorkerRecords};
use crate::service::tier::Tier;

/// How many blocks are imported at a time, 16 MiB: enough that publishing costs little.
const SLICE: usize = 1 << 20;

/// What a snapshot contains, and what saving it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Blocks in it, summed over the workers.
    pub blocks: u64,
    /// The length of the file.
    pub bytes: u64,
    /// How long it took.
    pub took: Duration,
    /// The longest time for which ingest of a model was paused.
    pub longest_pause: Duration,
}

/// Saves all models with their publishers to `path`, replacing the previous snapshot; where `path` is a symbolic link,
/// the file that it leads to is replaced. Publishers that are in `engines` are saved with where they publish.
///
/// # Errors
/// The file cannot be written or is no snapshot, or an index was shut down. The previous snapshot is still there.
pub fn save(path: &Path, models: &Models, engines: &[Engine]) -> Result<Saved, SnapshotError> {
    save_with(&check(path)?, models, || engines.to_vec())
}

/// Like [`save`], where engines may come and go meanwhile.
pub(super) fn save_with(
    path: &Path,
    models: &Models,
    engines: impl Fn() -> Vec<Engine>,
) -> Result<Saved, SnapshotError> {
    let began = Instant::now();
    let mut writer = Writer::create(path)?;
    let saved = write(&mut writer, models, engines)?;
    Ok(Saved { bytes: writer.finish()?, took: began.elapsed(), ..saved })
}

/// Writes all models with their publishers. `engines` returns the engines that are listened to when it is called.
///
/// # Errors
/// The sink does not take it, or an index was shut down.
pub fn write<W: io::Write>(
    writer: &mut Writer<W>,
    models: &Models,
    engines: impl Fn() -> Vec<Engine>,
) -> Result<Saved, SnapshotError> {
    let mut saved = Saved { blocks: 0, bytes: 0, took: Duration::ZERO, longest_pause: Duration::ZERO };
    let path = writer.name().to_owned();
    let closed = |Closed| SnapshotError { path: path.clone(), reason: Reason::Closed };
    let unwritable = |error| SnapshotError { path: path.clone(), reason: Reason::Unwritable(error) };
    for model in models.all().iter() {
        // The engines are listed after the publishers: a publisher that is missing from them has left meanwhile.
        let publishers = model.publishers().all();
        let engines = engines();
        let Key { model: name, group, tenant } = model.key().clone();
        let (block_size, hashing) = (model.block_size(), hashing(model));
        writer.model(&SavedModel { model: name, group, tenant, block_size, hashing })?;
        for publishers in publishers.chunk_by(|a, b| a.worker() == b.worker()) {
            let paused = Instant::now();
            let (mut resumes, parts) = match at_rest(model, publishers) {
                // The model was removed meanwhile, because its last engine left.
                Err(Closed) if !models.has(model) => break,
                read => read.map_err(closed)?,
            };
            saved.longest_pause = saved.longest_pause.max(paused.elapsed());
            for (publisher, resume) in publishers.iter().zip(&mut resumes) {
                let Worker { id: instance, dp_rank } = publisher.worker();
                let is_this = |engine: &&Engine| {
                    engine.worker() == publisher.worker()
                        && publisher.endpoint() == Some(&engine.endpoint)
                        && engine.key() == *model.key()
                };
                let engine = engines.iter().find(is_this).map(serde_json::to_string).transpose();
                let engine = engine.map_err(|error| unwritable(error.into()))?.unwrap_or_default();
                // If no engine has its endpoint any more, nobody will listen to it after a restart.
                resume.unheard |= engine.is_empty() && publisher.endpoint().is_some();
                let resume = postcard::to_stdvec(resume).map_err(|error| unwritable(io::Error::other(error)))?;
                writer.publisher(&SavedPublisher { instance, dp_rank, engine, resume })?;
            }
            for events in parts {
                events.iter().try_for_each(|event| writer.event(event))?;
                saved.blocks += events.iter().map(stored).sum::<usize>() as u64;
            }
        }
    }
    Ok(saved)
}

/// Reads out the publishers of a worker between two batches. Returns where each of them is, and what their workers
/// hold, tier by tier. What is remembered of the workers is returned with the first publisher only, because they share
/// it.
fn at_rest(model: &Model, publishers: &[Arc<Publisher>]) -> Result<(Vec<Resume>, Vec<Vec<Event>>), Closed> {
    let _at_rest = model.at_rest();
    let mut workers: Vec<_> = publishers.iter().flat_map(|publisher| publisher.workers()).collect();
    workers.sort_unstable();
    workers.dedup();
    let workers = workers.into_iter().flat_map(|worker| Tier::ALL.map(|tier| tier.worker(worker)));
    let parts = workers.map(|worker| model.index().export_worker(worker)).collect::<Result<_, _>>()?;
    // An export does not contain what the index left out, so the doubt about it is saved.
    let doubts = model.doubts();
    let unplaced = doubts.iter().filter(|(_, doubts)| doubts.has(Doubt::Unplaced)).map(|&(worker, _)| worker);
    let unplaced: Vec<_> = unplaced.collect();
    let resumes = publishers.iter().enumerate().map(|(place, publisher)| {
        let mut resume = publisher.checkpoint();
        for worker in publisher.workers().iter().filter(|worker| unplaced.contains(worker)) {
            resume.doubts.raise_for(worker.dp_rank, Doubt::Unplaced);
        }
        if place > 0 {
            resume.records = WorkerRecords::default();
        }
        resume
    });
    Ok((resumes.collect(), parts))
}

fn stored(event: &Event) -> usize {
    if matches!(event.data, EventData::Stored { .. }) { event.data.len() } else { 0 }
}

/// Returns a number by which local hashes with one key are told from those with another.
fn hashing(model: &Model) -> u64 {
    model.hasher().hash_block(&[])
}

/// Restores a snapshot into `models`, which must be empty. Returns them with the engines that are to be listened to
/// again.
///
/// Publishers continue where they were. One that speaks over HTTP cannot be asked for what it has said since, and so is
/// doubted. Needs about 40 MiB in addition to the indexes.
///
/// # Errors
/// The file cannot be read, is not a snapshot of this version, is damaged, or contains what an index with these
/// settings does not accept. Nothing of it is kept then.
pub fn restore(path: &Path, models: Models) -> Result<(Models, Vec<Engine>), SnapshotError> {
    read(Reader::open(path)?, models)
}

/// Like [`restore`], from any reader.
///
/// # Errors
/// Like [`restore`].
pub fn read<S: Read + Seek>(mut reader: Reader<S>, models: Models) -> Result<(Models, Vec<Engine>), SnapshotError> {
    let path = reader.name().to_owned();
    let refused =
        |what: String, why: String| SnapshotError { path: path.clone(), reason: Reason::Refused { what, why } };
    let mut engines = Vec::new();
    let mut current: Option<Arc<Model>> = None;
    let mut slice = Slice::default();
    // The last worker of which it is known that a publisher speaks for it.
    let mut spoken_for = None;
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
            Some(Record::Model(SavedModel { model, group, tenant, block_size, hashing: saved })) => {
                let key = Key { model, group, tenant };
                let added = models.get_or_add(&key, block_size);
                let model = added.map_err(|error| refused(format!("the index of {key}"), error.to_string()))?;
                if hashing(&model) != saved {
                    let why = "its blocks were hashed with another key, or without one: see hash_key_file";
                    return Err(refused(format!("the index of {key}"), why.to_owned()));
                }
                current = Some(model);
                spoken_for = None;
            }
            Some(Record::Publisher(publisher)) => {
                let what = format!("publisher {}/{}", publisher.instance, publisher.dp_rank);
                let model = current.as_ref().ok_or_else(|| refused(what.clone(), "it has no model".to_owned()))?;
                engines.extend(put_publisher(model, &publisher).map_err(|why| refused(what, why))?);
            }
            Some(Record::Event(event)) => {
                let (worker, _) = Tier::split(event.worker);
                if spoken_for != Some(worker) {
                    // No publisher could ever remove the blocks of a worker that none speaks for.
                    let speaks = |model: &Arc<Model>| model.publishers().speaker(worker).is_some();
                    let why = match &current {
                        None => Err("it has no model"),
                        Some(model) if !speaks(model) => Err("no publisher speaks for it"),
                        Some(_) => Ok(()),
                    };
                    why.map_err(|why| refused(format!("worker {worker}"), why.to_owned()))?;
                    spoken_for = Some(worker);
                }
                slice.blocks += event.data.len();
                slice.events.push(event);
            }
        }
    }
}

/// Events that are imported together.
#[derive(Default)]
struct Slice {
    events: Vec<Event>,
    blocks: usize,
}

/// Puts a publisher where it was. Returns its engine, if it has one.
fn put_publisher(model: &Model, saved: &SavedPublisher) -> Result<Option<Engine>, String> {
    let worker = Worker::new(saved.instance, saved.dp_rank);
    let mut resume: Resume = postcard::from_bytes(&saved.resume).map_err(|error| error.to_string())?;
    if resume.seat >= SEATS {
        return Err(format!("it is publisher {} of its worker, of at most {SEATS}", resume.seat));
    }
    let (publisher, engine) = if saved.engine.is_empty() {
        resume.doubts.raise(Doubt::Restored);
        (Publisher::http(worker), None)
    } else {
        let engine: Engine = serde_json::from_str(&saved.engine).map_err(|error| error.to_string())?;
        engine.check().map_err(|error| error.to_string())?;
        (Publisher::zmq(worker, engine.endpoint.clone()).copies(engine.copies), Some(engine))
    };
    let others = model.publishers().of(worker);
    let publisher = match others.first() {
        Some(other) => {
            resume.records = other.records().clone();
            publisher.seated(resume.seat, other.shared_records())
        }
        None => publisher.in_seat(resume.seat),
    };
    publisher.resume(resume);
    model.publishers().put(&Arc::new(publisher));
    Ok(engine)
}
