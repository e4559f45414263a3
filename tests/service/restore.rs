//! Saving the service's state to a snapshot and restoring it. The restored service has the same answers and publishers,
//! or the snapshot is refused.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use kvleap::service::ingest::{DynamoBlock, DynamoData, DynamoEvent, NumberedEvent, StorageTier, dynamo_events};
use kvleap::service::publisher::{Resume, State};
use kvleap::service::snapshot::{Reason, Replacement, SavedModel, SavedPublisher, Writer, restore, save};
use kvleap::service::{Config, Doubt, Engine, Key, Model, Models, Publisher, Server, StartError, Tier};
use kvleap::{Block, BlockHasher, Event, EventData, Index, Matches, Worker};

use crate::common::scratch::Scratch;
use crate::common::service::config;

type Snapshot = Writer<Replacement>;

fn key(model: &str, tenant: &str) -> Key {
    Key { tenant: tenant.to_owned(), ..Key::new(model) }
}

fn engine(instance_id: u64) -> Engine {
    let endpoint = format!("tcp://10.0.0.{instance_id}:5557");
    let json = serde_json::json!({
        "instance_id": instance_id, "endpoint": endpoint, "model_name": "llama", "block_size": 16,
        "replay_endpoint": "ipc:///run/replay", "dp_rank": 3
    });
    serde_json::from_value(json).expect("an engine")
}

fn stored(worker: Worker, id: u64, tier: StorageTier, parent: Option<u64>, names: std::ops::Range<u64>) -> DynamoEvent {
    let blocks = names.map(|name| DynamoBlock { block_hash: name, tokens_hash: name ^ 5 }).collect();
    let data = DynamoData::Stored { parent_hash: parent, blocks };
    let event = NumberedEvent { event_id: id, data, dp_rank: worker.dp_rank };
    DynamoEvent { worker_id: worker.id, storage_tier: tier, event }
}

fn answers(model: &Model, names: std::ops::Range<u64>) -> Vec<(Worker, u32)> {
    model.index().flush().expect("it runs");
    let query: Vec<u64> = names.map(|name| name ^ 5).collect();
    let mut matches = Matches::new();
    model.index().find(&query, &mut matches);
    let mut answers: Vec<_> = matches.iter().collect();
    answers.sort_unstable();
    answers
}

#[test]
fn a_saved_state_is_restored() {
    let scratch = Scratch::new("restored");
    let path = scratch.path("state");
    let models = Models::new(Index::builder(), 9);
    let (a, b, c) = (Worker::new(1, 0), Worker::new(2, 3), Worker::new(9, 0));
    let llama = models.get_or_add(&key("llama", ""), 16).expect("new");
    let other = models.get_or_add(&key("llama", "tenant"), 32).expect("new");
    let engine = engine(2);
    let originals = [(a, Arc::new(Publisher::http(a))), (b, Arc::new(Publisher::zmq(b, engine.endpoint.clone())))];
    for (_, publisher) in &originals {
        llama.publishers().put(publisher);
    }
    for (worker, publisher) in &originals {
        let more = worker.id * 20;
        let events = [
            stored(*worker, 6, StorageTier::Device, None, 100..110 + more),
            stored(*worker, 7, StorageTier::HostPinned, None, 100..105),
            stored(*worker, 8, StorageTier::HostPinned, Some(109 + more), 500..505),
        ];
        dynamo_events(&llama, publisher, &events).expect("it runs");
    }
    let publisher = Arc::new(Publisher::http(c));
    other.publishers().put(&publisher);
    dynamo_events(&other, &publisher, &[stored(c, 1, StorageTier::Device, None, 100..107)]).expect("it runs");
    let saved = save(path.as_ref(), &models, std::slice::from_ref(&engine)).expect("a scratch file");
    assert_eq!(saved.bytes, fs::metadata(&path).expect("it is there").len());
    assert_eq!(scratch.names(), ["state"]);
    let expected: u64 = [&llama, &other].iter().flat_map(|m| m.index().status().workers).map(|w| w.held_blocks).sum();
    assert_eq!(saved.blocks, expected);

    let (copies, engines) = restore(path.as_ref(), Models::new(Index::builder().shards(3), 2)).expect("intact");
    assert_eq!(engines, [engine]);
    assert_eq!(copies.all().len(), 2);
    for original in [&llama, &other] {
        let Key { model, group, tenant } = original.key();
        let copy = copies.get(model, group, tenant).expect("restored");
        assert_eq!(copy.block_size(), original.block_size());
        for names in [100..200, 100..104, 101..110] {
            assert_eq!(answers(&copy, names.clone()), answers(original, names));
        }
    }
    let deepest: Vec<u64> = (100..130).chain(500..505).collect();
    let query: Vec<u64> = deepest.iter().map(|name| name ^ 5).collect();
    let mut matches = Matches::new();
    copies.get("llama", "default", "").expect("restored").index().find(&query, &mut matches);
    assert_eq!((matches.depth(a), matches.depth(Tier::Host.worker(a))), (30, 35), "tiers are workers, too");

    let publishers = copies.get("llama", "default", "").expect("restored").publishers().all();
    assert_eq!(publishers.len(), 2);
    for (copy, (worker, publisher)) in publishers.iter().zip(&originals) {
        assert_eq!(
            (copy.worker(), copy.endpoint(), copy.workers()),
            (*worker, publisher.endpoint(), publisher.workers())
        );
        assert_eq!(copy.last_sequence(), Some(8));
        let (resume, before) = (copy.checkpoint(), publisher.checkpoint());
        assert_eq!((&resume.position, &resume.records), (&before.position, &before.records));
        assert!(!resume.records.workers.is_empty());
    }
    // More events may have come since then, over HTTP or over a connection that is not open yet.
    assert_eq!((publishers[0].state(), publishers[1].state()), (State::Unknown, State::Unreachable));
    assert_eq!(originals[0].1.doubts(), Doubt::JoinedLate.into());
    assert_eq!(publishers[0].doubts(), [Doubt::JoinedLate, Doubt::Restored].into_iter().collect());

    let error = restore(path.as_ref(), Models::new(Index::builder(), 1)).expect_err("one model too many");
    assert!(error.to_string().contains("max_models"), "{error}");
}

/// There are more blocks than are imported at a time, in longer chains than are saved at a time.
#[test]
fn a_large_state_is_restored_in_slices() {
    let scratch = Scratch::new("large");
    let path = scratch.path("state");
    let models = Models::new(Index::builder(), 9);
    let llama = models.get_or_add(&key("llama", ""), 16).expect("new");
    for id in 0..3 {
        let worker = Worker::new(id, 0);
        llama.publishers().put(&Arc::new(Publisher::http(worker)));
        let blocks = (1..=400_000).map(|name| Block { sequence: name, local: name.min(id * 100_000) }).collect();
        let data = EventData::Stored { parent: None, blocks };
        llama.index().send(Event { worker, id: 1, data }).expect("it runs");
    }
    save(path.as_ref(), &models, &[]).expect("a scratch file");
    let (copies, _) = restore(path.as_ref(), Models::new(Index::builder(), 9)).expect("intact");
    let copy = copies.get("llama", "default", "").expect("restored");
    assert_eq!(copy.index().export(), llama.index().export());
}

#[test]
fn a_snapshot_that_cannot_be_restored_is_refused_with_its_reason() {
    let scratch = Scratch::new("refused");
    let path = scratch.path("state");
    let refusal = |write: &dyn Fn(&mut Snapshot), settings| {
        let mut writer = Writer::create(path.as_ref()).expect("a scratch file");
        write(&mut writer);
        writer.finish().expect("a scratch file");
        let error = restore(path.as_ref(), Models::new(settings, 9)).expect_err("refused");
        assert!(matches!(error.reason, Reason::Refused { .. }), "{error}");
        error.to_string()
    };
    let hashing = BlockHasher::new(4).expect("above 0").hash_block(&[]);
    let saved = |block_size, hashing| SavedModel {
        model: "m".into(),
        group: "g".into(),
        tenant: String::new(),
        block_size,
        hashing,
    };
    let model = |block_size| saved(block_size, hashing);
    let publisher =
        |engine: &str, resume: Vec<u8>| SavedPublisher { instance: 7, dp_rank: 0, engine: engine.into(), resume };
    let orphan = EventData::Stored { parent: Some(5), blocks: vec![Block { sequence: 6, local: 6 }] };
    let orphan = Event { worker: Worker::new(7, 0), id: 1, data: orphan };
    let whole = EventData::Stored { parent: None, blocks: vec![Block { sequence: 6, local: 6 }] };
    let whole = Event { data: whole, ..orphan.clone() };
    let put = |result: Result<(), _>| result.expect("a scratch file");

    let text = refusal(&|writer| put(writer.model(&model(0))), Index::builder());
    assert!(text.contains("the index of m:g") && text.contains("block_size"), "{text}");
    let text = refusal(&|writer| put(writer.model(&saved(4, hashing ^ 1))), Index::builder());
    assert!(text.contains("hash_key_file"), "{text}");
    let text = refusal(&|writer| put(writer.event(&whole)), Index::builder());
    assert!(text.contains("worker 7/0 cannot be restored (it has no model)"), "{text}");
    let text = refusal(&|writer| put(writer.publisher(&publisher("", Vec::new()))), Index::builder());
    assert!(text.contains("publisher 7/0 cannot be restored (it has no model)"), "{text}");
    let spoken_by = |instance, event: &Event| {
        let publisher =
            SavedPublisher { instance, ..publisher("", postcard::to_stdvec(&Resume::default()).expect("short")) };
        let write = |writer: &mut Snapshot| {
            put(writer.model(&model(4)).and_then(|()| writer.publisher(&publisher)).and_then(|()| writer.event(event)));
        };
        refusal(&write, Index::builder())
    };
    let text = spoken_by(8, &whole);
    assert!(text.contains("worker 7/0 cannot be restored (no publisher speaks for it)"), "{text}");
    let text = spoken_by(7, &orphan);
    assert!(text.contains("what m:g holds") && text.contains("parent"), "{text}");
    let engines = ["{}", "{\"instance_id\": 7, \"endpoint\": \"http://a\", \"model_name\": \"m\", \"block_size\": 4}"];
    for (engine, resume) in [(engines[0], vec![]), (engines[1], vec![]), ("", vec![255; 3])] {
        let write = |writer: &mut Snapshot| {
            put(writer.model(&model(4)).and_then(|()| writer.publisher(&publisher(engine, resume.clone()))));
        };
        let text = refusal(&write, Index::builder());
        assert!(text.contains("publisher 7/0"), "{text}");
    }
}

#[test]
fn a_service_that_is_told_to_end_before_it_serves_leaves_everything_as_it_was() {
    let scratch = Scratch::new("early");
    let path = scratch.path("state");
    save(path.as_ref(), &Models::new(Index::builder(), 1), &[]).expect("a scratch file");
    let before = fs::read(&path).expect("it was saved");
    let config = Config { snapshot: Some(path.clone().into()), ..config() };
    let told = AtomicBool::new(true);
    let ended = Server::start_unless(config.clone(), &told).expect_err("it was told to end");
    assert!(matches!(ended, StartError::Ended), "{ended}");
    assert_eq!(fs::read(&path).expect("it is still there"), before);

    // The file is free for another one, which decides that it serves, and saves when it stops.
    let decided = AtomicBool::new(false);
    let server = Server::start_unless(config.clone(), &decided).expect("good settings");
    assert!(decided.load(Relaxed), "it is too late to end it");
    let taken = Server::start(config.clone()).expect_err("the file is taken").to_string();
    assert!(taken.contains(&format!("process {}", std::process::id())), "{taken}");
    assert!(server.stop().is_complete());
    fs::remove_file(&path).expect("it is there");
    let server = Server::start(config).expect("the file is free again");
    fs::create_dir(&path).expect("a directory");
    let stopped = server.stop();
    assert!(stopped.snapshot.is_some() && !stopped.unfinished_requests, "{stopped:?}");
    assert!(fs::metadata(&path).expect("it is there").is_dir());
}
