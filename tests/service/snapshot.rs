//! Snapshot files: a reader returns exactly the records that were written, and refuses everything else.

use std::fs;
use std::hash::Hasher;
use std::io::{self, Cursor, Write};
use std::os::unix::fs::symlink;
use std::path::Path;

use kvleap::service::snapshot::{Reader, Reason, Record, SavedModel, SavedPublisher, SnapshotError, Writer, save};
use kvleap::service::{Config, Models, Server};
use kvleap::{Block, Event, EventData, Index, Worker};
use proptest::prelude::*;

use crate::common::random::{self, DENSE, LONG, Shape};
use crate::common::scratch::Scratch;
use crate::common::service::config;

fn model(name: &str) -> Record {
    Record::Model(SavedModel {
        model: name.to_owned(),
        group: "default".to_owned(),
        tenant: String::new(),
        block_size: 16,
        hashing: 5,
    })
}

fn publisher(instance: u64) -> Record {
    Record::Publisher(SavedPublisher { instance, dp_rank: 3, engine: "{}".to_owned(), resume: vec![7; 5] })
}

fn stored(worker: Worker, parent: Option<u64>, names: std::ops::Range<u64>) -> Event {
    let blocks = names.map(|sequence| Block { sequence, local: sequence ^ 5 }).collect();
    Event { worker, id: 9, data: EventData::Stored { parent, blocks } }
}

/// Returns at least one record of every kind.
fn small() -> Vec<Record> {
    let (a, b) = (Worker::new(1, 3), Worker::new(1, 3 | 1 << 28));
    let whole = |worker, data| Event { worker, id: u64::MAX, data };
    vec![
        model("llama"),
        publisher(1),
        Record::Event(whole(a, EventData::WorkerAdded)),
        Record::Event(whole(a, EventData::CopiesCounted)),
        Record::Event(whole(a, EventData::Cleared)),
        Record::Event(stored(a, None, 100..103)),
        Record::Event(stored(a, Some(102), 200..201)),
        Record::Event(Event { worker: a, id: 9, data: EventData::Removed { blocks: vec![200, 0, u64::MAX] } }),
        Record::Event(whole(b, EventData::WorkerRemoved)),
        Record::Event(whole(b, EventData::Removed { blocks: Vec::new() })),
        Record::Event(stored(Worker::new(1, 3 | 2 << 28), Some(102), 200..201)),
        publisher(u64::MAX),
        model(""),
    ]
}

fn write(path: &Path, records: &[Record]) -> Result<u64, SnapshotError> {
    let mut writer = Writer::create(path)?;
    for record in records {
        match record {
            Record::Model(model) => writer.model(model),
            Record::Publisher(publisher) => writer.publisher(publisher),
            Record::Event(event) => writer.event(event),
        }?;
    }
    writer.finish()
}

fn all(mut reader: Reader<impl io::Read + io::Seek>) -> Result<Vec<Record>, SnapshotError> {
    let mut records = Vec::new();
    while let Some(record) = reader.next_record()? {
        records.push(record);
    }
    Ok(records)
}

fn read(bytes: &[u8]) -> Result<Vec<Record>, SnapshotError> {
    all(Reader::new("given", Cursor::new(bytes))?)
}

fn bytes_of(scratch: &Scratch, records: &[Record]) -> Vec<u8> {
    let path = scratch.path("some.snapshot");
    let length = write(path.as_ref(), records).expect("a scratch file");
    let bytes = fs::read(&path).expect("it was written");
    assert_eq!(bytes.len() as u64, length);
    bytes
}

/// Returns a file with this content in place of the records, and with a correct checksum.
fn sealed(content: &[u8]) -> Vec<u8> {
    let mut file = b"kvleap\0I\x03\0\0\0".to_vec();
    file.extend(zstd::encode_all(content, 1).expect("memory"));
    let mut sum = twox_hash::XxHash3_64::new();
    sum.write(&file);
    file.extend(sum.finish().to_le_bytes());
    file
}

#[test]
fn a_snapshot_is_read_back_as_it_was_written() {
    let scratch = Scratch::new("written");
    let bytes = bytes_of(&scratch, &small());
    assert_eq!(read(&bytes).expect("intact"), small());
    assert_eq!(scratch.names(), ["some.snapshot"], "no other file is left");
    let reader = Reader::open(scratch.path("some.snapshot").as_ref()).expect("intact");
    assert_eq!(reader.header().release, env!("CARGO_PKG_VERSION"));
    assert!(reader.header().created > 1_700_000_000);

    assert_eq!(read(&bytes_of(&scratch, &[])).expect("intact"), []);
}

#[test]
fn a_file_that_is_altered_cut_off_or_extended_is_refused() {
    let bytes = bytes_of(&Scratch::new("altered"), &small());
    for end in 0..bytes.len() {
        assert!(read(&bytes[..end]).is_err(), "the first {end} bytes");
    }
    for at in 0..bytes.len() {
        for flip in (0..8).map(|bit| 1 << bit).chain([0xFF]) {
            let mut altered = bytes.clone();
            altered[at] ^= flip;
            let error = read(&altered).expect_err("altered");
            match (at, error.reason) {
                (0..8, Reason::NotASnapshot) | (8..12, Reason::Version(_)) | (12.., Reason::Checksum) => {}
                (at, reason) => panic!("byte {at}: {reason}"),
            }
        }
    }
    let longer = [&bytes[..], &bytes[..]].concat();
    assert!(matches!(read(&longer).expect_err("twice as long").reason, Reason::Checksum));
}

#[test]
fn refusals_say_what_is_wrong_and_what_to_do() {
    let scratch = Scratch::new("refusals");
    let mut newer = bytes_of(&scratch, &small());
    let mut older = newer.clone();
    (newer[8], older[8]) = (4, 2);
    for (bytes, what, then) in [
        (&newer[..], "version 4, newer than 3", "start the release that wrote it"),
        (&older[..], "version 2, where version 3 is read", "start without a snapshot"),
        (b"{\"model\": 1, \"events\": []}", "not a snapshot", "give the file"),
        (b"", "not a snapshot", "give the file"),
        (b"kvleap\0I\x03\0\0\0abc", "cut off", "start without it"),
        (&sealed(b"")[..], "record 0", "start without it"),
        (&sealed(&[4; 30])[..], "begins with a record of kind 4", "start without it"),
    ] {
        let path = scratch.file_path("refused", bytes);
        let error = Reader::open(&path).and_then(all).expect_err("refused");
        let text = error.to_string();
        assert!(text.starts_with(&format!("{}: ", path.display())), "{text}");
        assert!(text.contains(what) && text.contains(then), "{text}");
    }
    let missing = Reader::open(scratch.path("missing").as_ref()).expect_err("missing");
    assert!(matches!(missing.reason, Reason::Unreadable(_)), "{missing}");
}

/// A correct checksum proves nothing, because anybody can compute one.
#[test]
fn senseless_content_is_refused_with_its_reason() {
    let header = [&[1, 5, 0, 0, 0, 0, 3][..], b"0.1"].concat();
    assert_eq!(read(&sealed(&[&header[..], &[0]].concat())).expect("an empty snapshot"), []);
    // The fields are the instance, the rank, the cache group, the tier and the event id.
    let speaking = |rank: u32, group: u32, tier: u8| {
        [&[4][..], &[0; 8], &rank.to_le_bytes(), &group.to_le_bytes(), &[tier], &[0; 8]].concat()
    };
    let speaker = speaking(0, 0, 0);
    for (content, why) in [
        (&[][..], "failed to fill"),
        (&[0, 0], "something follows"),
        (&[1, 0, 0, 0, 0], "no record of kind 1"),
        (&[99], "no record of kind 99"),
        (&[8], "an event of no worker"),
        (&speaking(1 << 28, 0, 0), "worker 0/268435456 has too high a rank"),
        (&speaking(0, 1, 0), "of cache group 1, and only group 0 is indexed"),
        (&speaking(0, 0, 3), "on tier 3"),
        (&[2, 255, 255, 255, 255], "a record of 4294967295 bytes"),
        (&[2, 0, 0, 0, 4, 1, 2, 3], ""),
        (&[3, 1, 0, 0, 0, 255], ""),
        (&[2, 6, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0], "longer than its content"),
        (&[&speaker[..], &[5, 255, 255, 255, 255]].concat(), "an event of 4294967295 blocks"),
        (&[&speaker[..], &[7, 1, 0, 1, 0]].concat(), "an event of 65537 blocks"),
        (&[&speaker[..], &[5, 2, 0, 0, 0], &[0; 31]].concat(), "failed to fill"),
    ] {
        let error = read(&sealed(&[&header[..], content].concat())).expect_err(why);
        let Reason::Malformed { why: given, .. } = &error.reason else { panic!("{error}") };
        assert!(given.contains(why), "{given}: {why}");
    }
}

#[test]
fn a_long_event_is_read_back_as_several_with_the_same_effect() {
    let worker = Worker::new(4, 0);
    let long = stored(worker, Some(7), 1000..151_000);
    let removed = Event { worker, id: 1, data: EventData::Removed { blocks: (0..70_000).collect() } };
    let records = [Record::Event(long), Record::Event(removed)];
    let read = read(&bytes_of(&Scratch::new("long"), &records)).expect("intact");
    let pieces = [(Some(7), 1000..66_536), (Some(66_535), 66_536..132_072), (Some(132_071), 132_072..151_000)];
    let (stores, removals) = read.split_at(3);
    assert_eq!(stores, pieces.map(|(parent, names)| Record::Event(stored(worker, parent, names))));
    let names: Vec<u64> = removals
        .iter()
        .flat_map(|record| match record {
            Record::Event(Event { data: EventData::Removed { blocks }, .. }) => blocks.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(names, (0..70_000).collect::<Vec<_>>());
}

#[test]
fn the_previous_file_stays_until_the_next_is_complete() {
    let scratch = Scratch::new("before");
    let path = scratch.path("some.snapshot");
    write(path.as_ref(), &small()).expect("a scratch file");
    let before = fs::read(&path).expect("it was written");

    let mut writer = Writer::create(path.as_ref()).expect("a scratch file");
    writer.event(&stored(Worker::default(), None, 0..100_000)).expect("a scratch file");
    assert_eq!(scratch.names().len(), 2, "it has another name so far");
    assert_eq!(fs::read(&path).expect("it is still there"), before);
    drop(writer);
    assert_eq!(scratch.names(), ["some.snapshot"], "a writer that is dropped leaves nothing");
    assert_eq!(fs::read(&path).expect("it is still there"), before);

    let nowhere = scratch.path("missing/some.snapshot");
    let error = Writer::create(nowhere.as_ref()).expect_err("no such directory");
    assert!(matches!(error.reason, Reason::Unwritable(_)), "{error}");
}

#[test]
fn a_link_at_a_name_beside_the_snapshot_is_not_followed() {
    let scratch = Scratch::new("links");
    let victim = scratch.file("victim", "precious");
    for suffix in ["partial", "lock"] {
        symlink(&victim, scratch.path(&format!("some.snapshot.{suffix}"))).expect("a link");
    }
    let path = scratch.path("some.snapshot");
    write(path.as_ref(), &small()).expect("a scratch file");
    let config = Config { snapshot: Some(path.into()), ..config() };
    let error = Server::start(config).expect_err("its lock is a link").to_string();
    assert!(error.contains("some.snapshot.lock"), "{error}");
    assert_eq!(fs::read(&victim).expect("it is there"), b"precious");
}

#[test]
fn a_link_to_a_snapshot_stays_and_what_it_leads_to_is_replaced() {
    let scratch = Scratch::new("leads");
    fs::create_dir(scratch.path("far")).expect("a directory");
    let link = scratch.path("link");
    symlink("far/again", &link).expect("a link");
    symlink("state", scratch.path("far/again")).expect("a link");
    // The file that they lead to is not there at first.
    for _ in 0..2 {
        save(link.as_ref(), &Models::new(Index::builder(), 1), &[]).expect("a scratch file");
        assert_eq!(scratch.names(), ["far", "link"]);
        assert!(fs::symlink_metadata(&link).expect("it is there").is_symlink());
        let about = fs::symlink_metadata(scratch.path("far/state")).expect("it is there");
        assert!(about.is_file());
    }
    symlink("circle", scratch.path("circle")).expect("a link");
    let error = save(scratch.path("circle").as_ref(), &Models::new(Index::builder(), 1), &[]).expect_err("a circle");
    assert!(matches!(error.reason, Reason::Unreadable(_)), "{error}");
}

/// The stores of further copies are equal to the first, so they compress to almost nothing.
#[test]
fn further_copies_take_little_room() {
    let block = stored(Worker::new(1, 0), Some(7), 1..2);
    let copies = |many| vec![Record::Event(block.clone()); many];
    let bytes = bytes_of(&Scratch::new("copies"), &copies(10_000));
    assert_eq!(read(&bytes).expect("intact"), copies(10_000));
    assert!(bytes.len() < 1000, "{} bytes", bytes.len());
}

/// A sink with room for this many bytes.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_snapshot_may_be_written_to_anything() {
    let write = |sink: &mut dyn Write| {
        let mut writer = Writer::new("a pipe", sink)?;
        let Record::Model(model) = model("llama") else { unreachable!("a model") };
        writer.model(&model)?;
        (0..100).try_for_each(|id| writer.event(&stored(Worker::new(id, 0), None, id * 1000..id * 1000 + 1000)))?;
        writer.end().map(drop)
    };
    let mut bytes = Vec::new();
    write(&mut bytes).expect("memory");
    assert_eq!(read(&bytes).expect("intact").len(), 101);
    for room in [0, 11, 12, bytes.len() / 2, bytes.len() - 1] {
        let error = write(&mut Full(room)).expect_err("there is not enough room");
        assert!(matches!(error.reason, Reason::Unwritable(_)), "{error}");
        assert!(error.to_string().starts_with("a pipe: "), "{error}");
    }
}

fn records(shape: Shape) -> impl Strategy<Value = Vec<Record>> {
    let names = (any::<String>(), any::<String>(), any::<String>(), any::<u32>(), any::<u64>());
    let model = names.prop_map(|(model, group, tenant, block_size, hashing)| {
        Record::Model(SavedModel { model, group, tenant, block_size, hashing })
    });
    let publisher = any::<(u64, u32, String, Vec<u8>)>();
    let publisher = publisher.prop_map(|(instance, dp_rank, engine, resume)| {
        Record::Publisher(SavedPublisher { instance, dp_rank, engine, resume })
    });
    let record = prop_oneof![1 => model, 2 => publisher, 20 => random::event(shape).prop_map(Record::Event)];
    prop::collection::vec(record, 0..80)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, rng_seed: proptest::test_runner::RngSeed::Fixed(8), ..ProptestConfig::default() })]

    #[test]
    fn random_records_are_read_back_as_they_were_written(records in prop_oneof![records(DENSE), records(LONG)]) {
        let bytes = bytes_of(&Scratch::new("whatever"), &records);
        prop_assert_eq!(read(&bytes).expect("intact"), records);
    }
}
