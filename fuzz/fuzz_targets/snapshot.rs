//! Saves a model that events have built, and restores it: what it holds, its answers, and the positions and doubts of
//! its publishers must be the same, and remain so while its engine goes on. A snapshot that was changed must be
//! refused.
//!
//! Then arbitrary bytes come as a snapshot and, with a correct checksum, as the content of one. They must neither panic
//! nor allocate for more than is there; what is not refused must be the same after it is read, written and read again.
#![no_main]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher;
use std::io::Cursor;
use std::rc::Rc;
use std::sync::Arc;

use arbitrary::Arbitrary;
use kvleap::service::ingest::{Applied, DynamoEvent, apply, dynamo_events};
use kvleap::service::publisher::{Copies, Publisher};
use kvleap::service::snapshot::{Reader, Record, Writer, read, write};
use kvleap::service::{Doubt, Key, Model, Models};
use kvleap::{BlockHasher, Index, Matches, Worker};
use libfuzzer_sys::fuzz_target;
use serde_json::json;
use twox_hash::XxHash3_64;

use engine::{BLOCK_SIZE, Batch, Engine, Setup, Spoken, speak};
use held::held;

#[path = "../shared/engine/mod.rs"]
#[allow(dead_code, reason = "what only other targets use")]
mod engine;
#[path = "../shared/held.rs"]
mod held;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    /// One half or the other, because each starts the threads of an index.
    survives: bool,
    setup: Setup,
    single: bool,
    batches: Vec<Batch>,
    spoken: Vec<Spoken>,
    /// What the engine says after the snapshot was taken.
    later: Vec<Batch>,
    damage: Vec<(u16, u8)>,
    /// In place of the records.
    content: &'a [u8],
}

const ENGINE: Worker = Worker::new(7, 0);
const SPEAKER: Worker = Worker::new(9, 0);
const ENDPOINT: &str = "tcp://127.0.0.1:5557";

fn models() -> Models {
    Models::new(Index::builder().seed(1), 4)
}

fn saved(models: &Models, single: bool) -> Vec<u8> {
    let copies = if single { "single" } else { "counted" };
    let engine = json!({
        "instance_id": ENGINE.id, "endpoint": ENDPOINT, "model_name": "m", "block_size": BLOCK_SIZE, "copies": copies,
    });
    let engine: kvleap::service::Engine = serde_json::from_value(engine).unwrap();
    let mut writer = Writer::new("fuzzed", Vec::new()).unwrap();
    write(&mut writer, models, || vec![engine.clone()]).unwrap();
    writer.end().unwrap()
}

fn restored(bytes: &[u8]) -> Result<Models, String> {
    let restored = Reader::new("fuzzed", Cursor::new(bytes)).and_then(|reader| read(reader, models()));
    restored.map(|(models, _)| models).map_err(|error| error.to_string())
}

/// What the index holds, and how many copies of it.
fn content(model: &Model) -> impl PartialEq + std::fmt::Debug + use<> {
    model.index().flush().unwrap();
    let status = model.index().status().workers.into_iter();
    let counts: BTreeMap<_, _> =
        status.map(|of| (of.worker, (of.held_blocks, of.extra_copies, of.last_event_id))).collect();
    (held(model), counts)
}

/// The doubts about each worker, but those that come from the connection or, as `but`, from the restart.
fn doubts(model: &Model, but: &[Doubt]) -> BTreeMap<Worker, BTreeSet<Doubt>> {
    let connection = [Doubt::NotHeard, Doubt::Unreachable];
    let all = model.doubts().into_iter().map(|(worker, doubts)| {
        (worker, doubts.iter().filter(|doubt| !connection.contains(doubt) && !but.contains(doubt)).collect())
    });
    all.filter(|(_, doubts): &(_, BTreeSet<_>)| !doubts.is_empty()).collect()
}

/// Compares two models. After a restart, doubts about what the index left out end later.
fn compare(a: &Model, b: &Model, paths: &[Vec<u64>], but: &[Doubt]) {
    assert_eq!((a.key(), a.block_size()), (b.key(), b.block_size()));
    assert_eq!(content(a), content(b));
    let but_restored = [but, &[Doubt::Restored]].concat();
    assert_eq!(doubts(a, but), doubts(b, &but_restored));
    let mut matches = [Matches::new(), Matches::new()];
    for path in paths {
        let answers = [a, b].map(|model| {
            let [found, _] = &mut matches;
            model.index().find(path, found);
            found.iter().collect::<BTreeSet<_>>()
        });
        assert_eq!(answers[0], answers[1], "{path:?}");
    }
    let positions = |model: &Model| {
        let all = model.publishers().all();
        let of = |publisher: &Arc<Publisher>| {
            let kept = publisher.checkpoint();
            let endpoint = publisher.endpoint().map(str::to_owned);
            (publisher.worker(), endpoint, publisher.workers(), kept.position, kept.lookahead, kept.records)
        };
        all.iter().map(of).collect::<Vec<_>>()
    };
    assert_eq!(positions(a), positions(b));
}

fn survives(input: &Input<'_>) {
    let (original, model) = original();
    let copies = if input.single { Copies::Single } else { Copies::Counted };
    let publisher = Arc::new(Publisher::zmq(ENGINE, ENDPOINT).copies(copies));
    let http = Arc::new(Publisher::http(SPEAKER));
    model.publishers().put(&publisher);
    model.publishers().put(&http);
    let mut engine = Engine::new(input.setup, 0, input.single);
    let mut number = 0;
    for batch in input.batches.iter().take(20) {
        apply(&model, &publisher, number, &engine.say(batch)).unwrap();
        number += 1;
    }
    let mut speaker = Engine::new(input.setup, 0, true);
    let (mut next, mut applied) = (0, Applied::default());
    for &said in input.spoken.iter().take(20) {
        let event: DynamoEvent = serde_json::from_value(speak(&mut speaker, said, &mut next, &mut applied)).unwrap();
        dynamo_events(&model, &http, [&event]).unwrap();
    }
    let bytes = saved(&original, input.single);
    let copy = restored(&bytes).unwrap();
    let all = copy.all();
    let [restored_model] = &all[..] else { panic!("one model was saved") };
    let mut paths: Vec<_> = engine.paths.values().chain(speaker.paths.values()).cloned().collect();
    compare(&model, restored_model, &paths, &[]);
    let marked = restored_model.doubts().into_iter().filter(|(_, doubts)| doubts.has(Doubt::Restored));
    let marked: BTreeSet<_> = marked.map(|(worker, _)| worker).collect();
    assert!(http.workers().into_iter().eq(marked), "nobody knows what was said over HTTP in between");

    let goes_on = restored_model.publishers().get(ENGINE).unwrap();
    for batch in input.later.iter().take(10) {
        let bytes = engine.say(batch);
        apply(&model, &publisher, number, &bytes).unwrap();
        apply(restored_model, &goes_on, number, &bytes).unwrap();
        number += 1;
    }
    paths.extend(engine.paths.values().cloned());
    compare(&model, restored_model, &paths, &[Doubt::Unplaced]);

    let mut damaged = bytes.clone();
    for &(place, byte) in &input.damage {
        let length = damaged.len();
        damaged[usize::from(place) % length] = byte;
    }
    if damaged != bytes {
        assert!(restored(&damaged).is_err(), "what was changed is refused");
    }
    let workers: BTreeSet<_> = model.index().export().unwrap().iter().map(|event| event.worker).collect();
    workers.into_iter().for_each(|worker| model.index().remove_worker(worker).unwrap());
}

thread_local! {
    /// Models to save, which inputs use one after another, and how often they were used.
    static ORIGINAL: RefCell<Option<(Rc<Models>, u32)>> = const { RefCell::new(None) };
}

/// A model has a bounded number of workers that were named once.
const MOST_USES: u32 = 400;

fn original() -> (Rc<Models>, Arc<Model>) {
    ORIGINAL.with_borrow_mut(|kept| {
        let used = kept.take().filter(|&(_, uses)| uses < MOST_USES);
        let (models, uses) = used.unwrap_or_else(|| (Rc::new(models()), 0));
        let model = models.get_or_add(&Key::new("m"), BLOCK_SIZE as u32).unwrap();
        *kept = Some((Rc::clone(&models), uses + 1));
        (models, model)
    })
}

/// Returns a file with a header, a model, `content` where the records should be, and a correct checksum.
fn sealed(content: &[u8]) -> Vec<u8> {
    // Postcard's variable length: seven bits a byte, the lowest first.
    let hashing = BlockHasher::new(4).unwrap().hash_block(&[]);
    let digits = (0..10).map(|digit| (hashing >> (7 * digit)) as u8 & 0x7f | if digit < 9 { 0x80 } else { 0 });
    let model: Vec<u8> = [1, b'm', 1, b'g', 0, 4].into_iter().chain(digits).collect();
    let header = [&[1, 5, 0, 0, 0, 0, 3, b'0', b'.', b'1', 2, model.len() as u8, 0, 0, 0][..], &model].concat();
    let mut file = b"kvleap\0I\x03\0\0\0".to_vec();
    file.extend(zstd::encode_all(&[&header, content].concat()[..], 1).unwrap());
    let mut sum = XxHash3_64::new();
    sum.write(&file);
    file.extend(sum.finish().to_le_bytes());
    file
}

fn records(bytes: &[u8]) -> Result<Vec<Record>, String> {
    let mut reader = Reader::new("fuzzed", Cursor::new(bytes)).map_err(|error| error.to_string())?;
    let mut records = Vec::new();
    while let Some(record) = reader.next_record().map_err(|error| error.to_string())? {
        records.push(record);
    }
    Ok(records)
}

fn bears(content: &[u8]) {
    // First the input as it is, which is hardly ever a snapshot, then as the content of one.
    let _ = records(content);
    let bytes = sealed(content);
    if let Ok(found) = records(&bytes) {
        let mut writer = Writer::new("fuzzed", Vec::new()).unwrap();
        for record in &found {
            match record {
                Record::Model(model) => writer.model(model),
                Record::Publisher(rank) => writer.publisher(rank),
                Record::Event(event) => writer.event(event),
            }
            .unwrap();
        }
        assert_eq!(records(&writer.end().unwrap()), Ok(found));
    }
    // Every error has a message.
    let _ = restored(&bytes).map_err(|error| assert!(!error.is_empty()));
}

fn either(input: &Input<'_>) {
    if input.survives {
        survives(input);
    } else {
        bears(input.content);
    }
}

fuzz_target!(|input: Input<'_>| either(&input));
