//! What an answer is worth: every doubt in the table of OPERATIONS.md, and what makes a publisher exact again.

use std::sync::Arc;
use std::time::Duration;

use kvleap::service::ingest::{
    DynamoBlock, DynamoData, DynamoEvent, NumberedEvent, Settings, Source, StorageTier, apply, dynamo_events,
};
use kvleap::service::publisher::{Count, Skip, State};
use kvleap::service::{Config, Doubt, Doubts, Ingest, Key, Listener, Model, Models, OverBudget, Publisher, Tier};
use kvleap::{Index, Worker};
use serde_json::{Value, json};

use crate::common::engine_events::{batch, cleared, removed, stored};
use crate::common::model::{depth, model};
use crate::common::peer::dumping;
use crate::common::scratch::Scratch;
use crate::common::service::{self, Service, events};
use crate::common::until::until;
use crate::common::zmtp::{self, Subscriber};
use crate::stream::{Stream, WORKER, hasher, payload, register, tokens};

/// A row of the table: the reason, and a check of what raises the doubt and what ends it.
type Row = (Doubt, fn());

const ROWS: [Row; Doubt::ALL.len()] = [
    (Doubt::NotHeard, not_heard),
    (Doubt::JoinedLate, joined_late),
    (Doubt::Unplaced, || left_out(Doubt::Unplaced, &stored(&[5], Some(99), &tokens(5, 1), json!({})), "GPU")),
    (Doubt::BlockSize, || left_out(Doubt::BlockSize, &stored(&[5], None, &[1, 2], json!({"block_size": 2})), "GPU")),
    (Doubt::Medium, || left_out(Doubt::Medium, &stored(&[5], None, &[1; 4], json!({"medium": "cuda:0"})), "cuda:0")),
    (Doubt::Location, || left_out(Doubt::Location, &stored(&[5], None, &[], json!({"medium": "CPU"})), "CPU")),
    (Doubt::Adapter, || left_out(Doubt::Adapter, &stored(&[5], None, &[1; 4], json!({"lora_id": 7})), "GPU")),
    (Doubt::Keys, || {
        let two_salts = json!({"extra_keys": [["one", "another"]]});
        left_out(Doubt::Keys, &stored(&[5], None, &[1; 4], two_salts), "GPU");
        let on_a_later_block = json!({"extra_keys": [null, ["salt"]]});
        left_out(Doubt::Keys, &stored(&[5, 6], None, &[1; 8], on_a_later_block), "GPU");
    }),
    (Doubt::Repeated, || left_out(Doubt::Repeated, &stored(&[5, 5], None, &[1; 8], json!({})), "GPU")),
    (Doubt::Rank, rank_too_high),
    (Doubt::Workers, too_many_workers),
    (Doubt::Budget, over_budget),
    (Doubt::Gap, gap),
    (Doubt::Undecodable, || lasting(Doubt::Undecodable, |stream| stream.publish_bytes(b"\xc1"))),
    (Doubt::UnknownEvent, || {
        lasting(Doubt::UnknownEvent, |stream| stream.publish(&[json!({"type": "TierBlocksCleared", "medium": "GPU"})]));
        lasting(Doubt::UnknownEvent, |stream| stream.publish(&[removed(&[1], "cuda:0")]));
    }),
    (Doubt::Malformed, || lasting(Doubt::Malformed, |stream| stream.publish(&[json!({"type": "BlockRemoved"})]))),
    (Doubt::Misfit, || {
        left_out(Doubt::Misfit, &stored(&[5], None, &[1; 5], json!({})), "GPU");
        let inconsistent = json!({"lookahead_token_ids": [[8], [9]]});
        left_out(Doubt::Misfit, &stored(&[5, 6], None, &[1; 8], inconsistent), "GPU");
    }),
    (Doubt::EventIds, event_ids),
    (Doubt::Unheard, reconnected_unasked),
    (Doubt::Failure, service_failed),
    (Doubt::Hashing, hashing_changed),
    (Doubt::Restored, restored),
    (Doubt::Copied, copied),
    (Doubt::CatchingUp, catching_up),
    (Doubt::Unreachable, unreachable),
];

#[test]
fn every_doubt_of_the_table_is_raised_and_ended_as_it_says() {
    for (_, check) in ROWS {
        check();
    }
}

#[test]
fn the_table_lists_every_doubt_once_with_its_kind() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/OPERATIONS.md")).expect("the guide");
    let (_, table) = text.split_once("## What an answer is worth").expect("the chapter");
    let (table, _) = table.split_once("\n## ").expect("another chapter");
    let rows = table.lines().filter(|line| line.starts_with("| ")).skip(1);
    let reasons = rows.filter_map(|row| {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let [_, _, _, kind, reason, _, _] = cells[..] else { panic!("five cells: {row}") };
        let name = reason.strip_prefix('`')?.strip_suffix('`')?;
        Some((name.to_owned(), kind.replace(' ', "_")))
    });
    let known = Doubt::ALL.map(|doubt| (doubt.name().to_owned(), doubt.kind().name().to_owned()));
    assert_eq!(reasons.collect::<Vec<_>>(), known);
    assert_eq!(ROWS.map(|(doubt, _)| doubt), Doubt::ALL);
}

/// Checks that a store that is left out raises the doubt, and that the removal of its blocks or a clear ends it.
fn left_out(doubt: Doubt, event: &Value, medium: &str) {
    let hashes: Vec<u64> = event["block_hashes"].as_array().expect("hashes").iter().filter_map(Value::as_u64).collect();
    let good = stored(&[1, 2], None, &tokens(0, 2), json!({}));
    for end in [removed(&hashes, medium), cleared()] {
        let mut stream = Stream::new();
        stream.publish(&[good.clone(), event.clone()]);
        assert_eq!(stream.doubts(), doubt.into(), "{event}");
        assert_eq!(stream.depth(Tier::Device, &tokens(0, 2)), 2, "the other events of its batch are applied");
        // The removal of another block does not end the doubt.
        stream.publish(&[removed(&[2], "GPU")]);
        assert_eq!(stream.doubts(), doubt.into(), "{event}");
        stream.publish(&[end]);
        assert_eq!(stream.doubts(), Doubts::NONE, "{event}");
    }
}

/// Checks that only a clear ends the doubt, and only one that comes after what raised it.
fn lasting(doubt: Doubt, raise: impl Fn(&mut Stream)) {
    let mut stream = Stream::new();
    stream.publish(&[stored(&[1, 2], None, &tokens(0, 2), json!({})), cleared()]);
    raise(&mut stream);
    assert_eq!(stream.doubts(), doubt.into());
    stream.publish(&[stored(&[1, 2], None, &tokens(0, 2), json!({})), removed(&[1, 2], "GPU")]);
    assert_eq!(stream.doubts(), doubt.into());
    stream.publish(&[cleared()]);
    assert_eq!(stream.doubts(), Doubts::NONE);
}

#[test]
fn a_clear_ends_the_doubt_about_an_unreadable_event_only_if_it_comes_later() {
    let unknown = json!({"type": "New"});
    for (events, exact) in [([unknown.clone(), cleared()], true), ([cleared(), unknown], false)] {
        let mut stream = Stream::new();
        stream.publish(&events);
        assert_eq!(stream.doubts().is_empty(), exact, "{events:?}");
    }
}

#[test]
fn a_clear_ends_the_doubts_about_its_own_rank_only() {
    let (model, publisher) = (model(4), Arc::new(Publisher::zmq(WORKER, "tcp://127.0.0.1:1")));
    model.publishers().put(&publisher);
    let say = |sequence, dp_rank: u32, events: &[Value]| {
        apply(&model, &publisher, sequence, &batch(events, Some(dp_rank))).expect("the index is there");
    };
    for dp_rank in [0, 1] {
        say(dp_rank.into(), dp_rank, &[json!({"type": "New"})]);
    }
    say(2, 1, &[cleared()]);
    let doubted: Vec<_> = model.doubts().into_iter().filter(|(_, doubts)| doubts.has(Doubt::UnknownEvent)).collect();
    assert_eq!(doubted.iter().map(|(worker, _)| *worker).collect::<Vec<_>>(), [WORKER]);
}

fn rank_too_high() {
    let mut stream = Stream::new();
    stream.publish_bytes(&batch(&[cleared()], Some(1 << 28)));
    assert_eq!(stream.doubts(), Doubt::Rank.into());
}

fn too_many_workers() {
    let models = Models::new(Index::builder().seed(1), 1).max_workers(3);
    let mut stream = Stream::new();
    stream.model = models.get_or_add(&Key::new("m"), 4).expect("valid settings");
    stream.model.publishers().put(&stream.publisher);
    let chain = stored(&[1], None, &tokens(0, 1), json!({}));
    // A hostile publisher names a thousand ranks. Three of them and its own have room.
    for rank in (0..1000).rev() {
        stream.publish_bytes(&batch(std::slice::from_ref(&chain), Some(rank)));
    }
    assert_eq!(stream.doubts(), Doubt::Workers.into());
    assert_eq!(stream.publisher.workers().len(), 4);
    assert_eq!(stream.publisher.skipped(Skip::Workers), 996);
    assert_eq!(stream.model.index().status().workers.len(), 4);
    assert_eq!(stream.depth(Tier::Device, &tokens(0, 1)), 1, "its own rank has its place");
    stream.publish_bytes(&batch(&[cleared()], Some(0)));
    assert_eq!(stream.doubts(), Doubts::NONE);
}

fn over_budget() {
    let config = Config { memory_budget: Some(1 << 20), over_budget: OverBudget::Refuse, ..service::config() };
    let service = Service::start(config);
    let held = || service.server.indexer().models().all()[0].index().status().workers[0].held_blocks;
    let mut sent = 0;
    // The service checks the budget only from time to time, and takes what comes in between.
    until("something is left out", || {
        let locals: Vec<u64> = (sent..sent + 4096).collect();
        let event = service::stored((7, 0), "device", sent, &locals);
        sent += 4096;
        assert_eq!(service.post("/events", &events(&[event])).0, 200);
        doubts(&service) == Doubt::Budget.into()
    });
    assert!(held() < sent, "{} of {sent}", held());
    exact_once_cleared(service);
}

fn restored() {
    let scratch = Scratch::new("restored");
    let config = || Config { snapshot: Some(scratch.path("snapshot").into()), ..service::config() };
    let service = Service::start(config());
    assert_eq!(service.post("/events", &events(&[service::stored((7, 0), "device", 1, &[5, 6])])).0, 200);
    assert_eq!(doubts(&service), Doubts::NONE);
    service.server.stop();
    let service = Service::start(config());
    assert_eq!((doubts(&service), tokens_held(&service)), (Doubt::Restored.into(), 8));
    exact_once_cleared(service);
}

fn copied() {
    let dump = json!({"m:default": {"block_size": 4, "events": [service::stored((7, 0), "device", 1, &[5, 6])]}});
    let service = Service::start(Config { peers: vec![dumping(&dump)], ..service::config() });
    // No publisher has spoken for the worker yet.
    let expected = [Doubt::Copied, Doubt::Unreachable].into_iter().collect();
    assert_eq!((doubts(&service), tokens_held(&service)), (expected, 8));
    exact_once_cleared(service);
}

/// Returns the doubts about the only worker of the only model.
fn doubts(service: &Service) -> Doubts {
    let doubts = service.server.indexer().models().all()[0].doubts();
    assert!(doubts.iter().all(|(worker, _)| *worker == WORKER), "{doubts:?}");
    doubts.iter().fold(Doubts::NONE, |all, &(_, doubts)| all.and(doubts))
}

/// Returns how many tokens the worker holds of two blocks whose local hashes are 5 and 6.
fn tokens_held(service: &Service) -> u64 {
    let (_, answer) = service.post("/query_by_hash", &json!({"model_name": "m", "block_hashes": [5, 6]}));
    answer["scores"]["7"]["0"].as_u64().unwrap_or(0)
}

/// Checks that a clear ends the doubts about a worker that speaks over HTTP.
fn exact_once_cleared(service: Service) {
    assert_eq!(service.post("/events", &events(&[service::event((7, 0), "device", json!("cleared"))])).0, 200);
    assert_eq!(doubts(&service), Doubts::NONE);
    service.server.stop();
}

/// Fails where a message about one worker is logged: the only way to make a listener panic from outside.
struct PanickingLog;

impl PanickingLog {
    const WORKER: Worker = Worker::new(0xDEAD, 0);
}

impl tracing::Subscriber for PanickingLog {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("kvleap::service::ingest::feed")
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn event(&self, event: &tracing::Event<'_>) {
        let mut panics = false;
        event.record(&mut |field: &tracing::field::Field, value: &dyn std::fmt::Debug| {
            panics |= field.name() == "worker" && format!("{value:?}") == Self::WORKER.to_string();
        });
        assert!(!panics, "asked to panic, by a test");
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

fn service_failed() {
    tracing::subscriber::set_global_default(PanickingLog).expect("no other test sets one");
    let harness = Harness::of(PanickingLog::WORKER, Settings::default());
    let mut first = harness.engine.subscriber();
    harness.send(&mut first, 0..2);
    first.send(2, b"\xc1");
    // This batch makes the listener panic. The service does not apply it, does not try it again, and reconnects.
    let mut second = harness.engine.subscriber();
    harness.send(&mut second, 3..4);
    assert!(harness.holds(0) && harness.holds(3), "what was applied before and after is still there");
    assert_eq!(harness.publisher.count(Count::Failures), 1);
    assert!(harness.publisher.doubts().has(Doubt::Failure));
    second.send(4, &payload(&[cleared()]));
    until("the clear is applied", || harness.publisher.doubts().is_empty());
}

fn hashing_changed() {
    // One plain block, and then one that looks ahead. The second is credited even if the token behind it differs.
    let mut stream = Stream::new();
    stream.publish(&[stored(&[1], None, &tokens(0, 1), json!({}))]);
    stream.publish(&[stored(&[2], Some(1), &tokens(1, 1), json!({"lookahead_token_ids": [[8]]}))]);
    assert_eq!((stream.doubts(), stream.depth(Tier::Device, &tokens(0, 2))), (Doubt::Hashing.into(), 2));
    stream.publish(&[cleared()]);
    assert_eq!(stream.doubts(), Doubts::NONE);
    // A plain block behind one that looks ahead cannot be hashed.
    stream.publish(&[stored(&[1], None, &tokens(0, 1), json!({"lookahead_token_ids": [[4]]}))]);
    stream.publish(&[stored(&[2], Some(1), &tokens(1, 1), json!({}))]);
    assert_eq!(stream.doubts(), Doubt::Hashing.into());
}

fn event_ids() {
    let (model, publisher) = (model(4), Arc::new(Publisher::http(WORKER)));
    model.publishers().put(&publisher);
    let say = |id, data| {
        let event = NumberedEvent { event_id: id, data, dp_rank: 0 };
        let event = DynamoEvent { worker_id: 7, storage_tier: StorageTier::Device, event };
        dynamo_events(&model, &publisher, &[event]).expect("the index is there");
        model.doubts().first().map(|(_, doubts)| *doubts)
    };
    let block = |name| DynamoBlock { block_hash: name, tokens_hash: name };
    let store = |name| DynamoData::Stored { parent_hash: None, blocks: vec![block(name)] };
    for (id, doubt) in [(1, None), (1, None), (2, None), (4, Some(Doubt::EventIds)), (5, Some(Doubt::EventIds))] {
        assert_eq!(say(id, store(id)), doubt.map(Doubts::from), "{id}");
    }
    assert_eq!(publisher.count(Count::Gaps), 1);
    assert_eq!(say(6, DynamoData::Cleared), None);
    assert_eq!(say(4, store(9)), Some(Doubt::EventIds.into()), "the ids went back");
}

/// An engine that the test plays, with a listener to it and the publisher that the listener keeps.
struct Harness {
    engine: zmtp::Publisher,
    model: Arc<Model>,
    publisher: Arc<Publisher>,
    _ingest: Ingest,
    _listener: Listener,
}

impl Harness {
    fn new(settings: Settings) -> Self {
        Self::of(WORKER, settings)
    }

    fn of(worker: Worker, settings: Settings) -> Self {
        let (engine, model) = (zmtp::Publisher::bind(), model(4));
        let publisher = Arc::new(Publisher::zmq(worker, engine.endpoint()));
        model.publishers().put(&publisher);
        let ingest = Ingest::start(settings).expect("threads");
        let source = Source { endpoint: engine.endpoint(), ..Source::default() };
        let listener = ingest.listen(source, Arc::clone(&model), Arc::clone(&publisher), None);
        Self { engine, model, publisher, _ingest: ingest, _listener: listener }
    }

    /// Sends batches with these numbers, each with the block of its number, and waits until the last is applied.
    fn send(&self, to: &mut Subscriber, sequences: std::ops::Range<u64>) {
        let last = sequences.end - 1;
        for sequence in sequences {
            to.send(sequence, &payload(&[stored(&[sequence + 1], None, &[sequence as u32; 4], json!({}))]));
        }
        until("the last batch is applied", || self.publisher.last_sequence() == Some(last));
    }

    fn holds(&self, block: u64) -> bool {
        depth(&self.model, Tier::Device, self.publisher.worker(), &hasher().hash(&[block as u32; 4])) == 1
    }

    fn comes_to(&self, doubts: impl IntoIterator<Item = Doubt>) {
        let doubts: Doubts = doubts.into_iter().collect();
        until(&format!("the doubts are {doubts:?}"), || self.publisher.doubts() == doubts);
    }
}

fn not_heard() {
    let harness = Harness::new(Settings::default());
    assert_eq!((harness.publisher.state(), harness.publisher.doubts()), (State::Connecting, Doubt::NotHeard.into()));
    let mut to = harness.engine.subscriber();
    harness.send(&mut to, 0..1);
    harness.comes_to([]);
}

/// A message that is no batch may be a batch that was damaged, so answers are doubted until a clear.
#[test]
fn noise_is_not_ignored() {
    let harness = Harness::new(Settings::default());
    let mut to = harness.engine.subscriber();
    harness.send(&mut to, 0..1);
    harness.comes_to([]);
    for (noise, times) in
        [&[b"x" as &[u8]][..], &[b"", b"7 bytes", b"x"], &[b"", &[0xff; 8], b"x"]].into_iter().zip(1..)
    {
        to.message(noise);
        harness.comes_to([Doubt::Undecodable]);
        until("it is counted", || harness.publisher.count(Count::Undecodable) == times);
    }
    to.send(1, &payload(&[cleared()]));
    harness.comes_to([]);
}

fn joined_late() {
    let harness = Harness::new(Settings::default());
    let mut to = harness.engine.subscriber();
    // Until its first batch arrives, the engine may have sent others before.
    harness.comes_to([Doubt::JoinedLate]);
    harness.send(&mut to, 5..7);
    assert_eq!((harness.publisher.state(), harness.publisher.count(Count::Lost)), (State::AtLeast, 5));
    assert!(harness.holds(5) && harness.holds(6), "the later batches are applied");
    to.send(7, &payload(&[cleared()]));
    harness.comes_to([]);
    assert_eq!(harness.publisher.state(), State::Live);
}

fn gap() {
    let harness = Harness::new(Settings::default());
    let mut to = harness.engine.subscriber();
    harness.send(&mut to, 0..2);
    harness.send(&mut to, 3..4);
    harness.comes_to([Doubt::Gap]);
    assert_eq!(harness.publisher.state(), State::Unknown);
    // The engine restarts behind a proxy, which keeps the connection open.
    harness.send(&mut to, 0..1);
    harness.comes_to([]);
    assert!(harness.holds(0) && !harness.holds(1));
}

fn reconnected_unasked() {
    let harness = Harness::new(Settings::default());
    let mut to = harness.engine.subscriber();
    harness.send(&mut to, 0..3);
    drop(to);
    // The engine may have restarted and reached the same number, or it went on. Nobody can tell.
    let mut to = harness.engine.subscriber();
    harness.comes_to([Doubt::Unheard]);
    harness.send(&mut to, 3..4);
    assert_eq!((harness.publisher.state(), harness.publisher.doubts()), (State::Unknown, Doubt::Unheard.into()));
    assert!(harness.holds(2), "its blocks are still the best guess");
    drop(to);
    let mut to = harness.engine.subscriber();
    harness.send(&mut to, 0..1);
    harness.comes_to([]);
    assert!(!harness.holds(2), "a lower number proves that it restarted");
}

fn unreachable() {
    let settings = Settings { grace: Duration::from_millis(300), ..Settings::default() };
    let harness = Harness::new(settings);
    let mut to = harness.engine.subscriber();
    harness.send(&mut to, 0..3);
    let Harness { engine, model, publisher, _ingest, _listener } = harness;
    let holds = |block: u32| depth(&model, Tier::Device, WORKER, &hasher().hash(&[block; 4])) == 1;
    // The engine's process ends, so the listener cannot connect.
    drop((to, engine));
    until("it is unreachable", || publisher.state() == State::Unreachable || publisher.state() == State::Gone);
    until("it is gone", || publisher.state() == State::Gone);
    assert!(!holds(2));
    assert_eq!(
        ([Count::Disconnects, Count::Replaced, Count::Expired].map(|what| publisher.count(what)), publisher.doubts()),
        ([1, 0, 1], Doubts::NONE)
    );
}

#[test]
fn an_unreachable_publisher_is_doubted_and_not_present() {
    let harness = Harness::new(Settings::default());
    let mut to = harness.engine.subscriber();
    harness.send(&mut to, 0..1);
    assert!(harness.publisher.is_present());
    let Harness { engine, model, publisher, _ingest, _listener } = harness;
    drop((to, engine));
    until("it is unreachable", || publisher.state() == State::Unreachable);
    assert!(!publisher.is_present());
    assert_eq!(model.doubts(), [(WORKER, Doubt::Unreachable.into())]);
    assert_eq!(depth(&model, Tier::Device, WORKER, &hasher().hash(&[0; 4])), 1, "its blocks are still the best guess");
}

/// Without a replay endpoint, nobody can say what a publisher had before it was lost for so long.
#[test]
fn a_publisher_whose_blocks_were_dropped_is_not_taken_for_one_that_goes_on() {
    let harness = Harness::new(Settings { grace: Duration::ZERO, ..Settings::default() });
    let mut to = harness.engine.subscriber();
    harness.send(&mut to, 0..2);
    drop(to);
    until("its blocks are dropped", || !harness.holds(0) && !harness.holds(1));
    let mut to = harness.engine.subscriber();
    harness.send(&mut to, 2..3);
    assert!(harness.holds(2) && !harness.holds(1));
    assert!(harness.publisher.doubts().has(Doubt::JoinedLate), "{:?}", harness.publisher.doubts());
}

fn catching_up() {
    // A replay endpoint that accepts connections and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let replay = format!("tcp://{}", silent.local_addr().expect("bound"));
    let (engine, model) = (zmtp::Publisher::bind(), model(4));
    let publisher = Arc::new(Publisher::zmq(WORKER, engine.endpoint()));
    model.publishers().put(&publisher);
    let settings = Settings { replay_timeout: Duration::from_millis(200), replay_attempts: 1, ..Settings::default() };
    let ingest = Ingest::start(settings).expect("threads");
    let source = Source { endpoint: engine.endpoint(), replay: Some(replay), ..Source::default() };
    let _listener = ingest.listen(source, Arc::clone(&model), Arc::clone(&publisher), None);
    let mut to = engine.subscriber();
    until("the listener asks for a replay", || publisher.doubts().has(Doubt::CatchingUp));
    to.send(0, &payload(&[]));
    // The replay failed, but the first batch came live, so nothing is missing.
    until("it is exact", || publisher.last_sequence() == Some(0) && publisher.doubts().is_empty());
}

/// The publisher is quiet and has no replay endpoint, so the listener opens a second connection beside the first. There
/// is no doubt as long as the first one is alive.
#[test]
fn silence_alone_raises_no_doubt() {
    let settings = Settings { silence: Duration::from_millis(700), ..Settings::default() };
    let harness = Harness::new(settings);
    let mut first = harness.engine.subscriber();
    harness.send(&mut first, 0..2);
    let mut second = harness.engine.subscriber();
    // Both connections receive the batch, and it counts once.
    let batch = payload(&[stored(&[3], None, &[2; 4], json!({}))]);
    second.send(2, &batch);
    first.send(2, &batch);
    until("the batch is applied", || harness.publisher.last_sequence() == Some(2));
    assert_eq!((harness.publisher.doubts(), harness.publisher.count(Count::Batches)), (Doubts::NONE, 3));
    let connections = || [Count::Disconnects, Count::Replaced].map(|what| harness.publisher.count(what));
    assert_eq!(connections(), [0, 0], "a second connection ends nothing");
    // Only the newest connection receives this batch, so the older one was dead and may have missed others.
    let mut newer = harness.engine.subscriber();
    newer.send(3, &payload(&[]));
    until("the batch is applied", || harness.publisher.last_sequence() == Some(3));
    harness.comes_to([Doubt::Unheard]);
    assert_eq!(connections(), [0, 1], "there always was a connection");
}

/// Events of offloading name neither salts nor pictures, so the service takes both from the blocks on the device.
#[test]
fn offloaded_blocks_keep_their_salts_and_pictures() {
    let mut stream = Stream::new();
    let salt = json!({"extra_keys": [["s"], [["picture", 0]]]});
    stream.publish(&[stored(&[1, 2], None, &tokens(0, 2), salt)]);
    stream.publish(&[stored(&[1, 2], None, &tokens(0, 2), json!({"medium": "CPU"})), removed(&[1, 2], "GPU")]);
    assert_eq!(stream.salted(Tier::Host, &tokens(0, 2), "s"), 1, "the second block belongs to a picture");
    assert_eq!(stream.depth(Tier::Host, &tokens(0, 2)), 0, "it does not match without the salt");
}

#[test]
fn salts_and_pictures_are_distinguished_by_type_and_place() {
    let digest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let prompt = tokens(0, 2);
    let mut stream = Stream::new();
    stream.publish(&[stored(&[1, 2], None, &prompt, json!({"extra_keys": [[digest], null]}))]);
    assert_eq!((stream.salted(Tier::Device, &prompt, digest), stream.depth(Tier::Device, &prompt)), (2, 0));
    // The name of this adapter is also the salt.
    stream.publish(&[stored(&[3, 4], None, &prompt, json!({"lora_name": "a", "extra_keys": [["a", "a"], ["a"]]}))]);
    let query = hasher().lora("a").namespace("a").hash(&prompt);
    assert_eq!(depth(&stream.model, Tier::Device, WORKER, &query), 2);
    assert_eq!(stream.doubts(), Doubts::NONE);

    // vLLM 0.17 to 0.19 sends nine elements. A bare name at the beginning of a sequence may be a salt or a picture, a
    // later one is a picture, and one beside a pair is a salt.
    let old = |hashes: &[u64], parent: Option<u64>, tokens: &[u32], extra: Value| {
        json!(["BlockStored", hashes, parent, tokens, 4, null, "GPU", null, extra])
    };
    let mut stream = Stream::new();
    stream.publish(&[old(&[1], None, &tokens(0, 1), json!([[digest]]))]);
    assert_eq!((stream.doubts(), stream.salted(Tier::Device, &tokens(0, 1), digest)), (Doubt::Keys.into(), 0));
    stream.publish(&[removed(&[1], "GPU"), old(&[2, 3], None, &prompt, json!([null, [digest]]))]);
    assert_eq!((stream.doubts(), stream.depth(Tier::Device, &prompt)), (Doubts::NONE, 1));
    stream.publish(&[old(&[4], None, &tokens(9, 1), json!([[["picture", 0], "salt"]]))]);
    assert_eq!(stream.doubts(), Doubts::NONE);
}

#[test]
fn a_lookahead_credits_no_block_whose_following_tokens_are_unknown_or_differ() {
    let prompt: Vec<u32> = (0..13).collect();
    for ahead in [1_usize, 3] {
        let mut stream = Stream::new();
        let behind: Vec<_> = (1..=2).map(|block| &prompt[4 * block..4 * block + ahead]).collect();
        stream.publish(&[stored(&[1, 2], None, &prompt[..8], json!({"lookahead_token_ids": behind}))]);
        let blocks = |tokens: &[u32]| {
            let query = hasher().lookahead(ahead as u32).hash(tokens);
            depth(&stream.model, Tier::Device, WORKER, &query)
        };
        assert_eq!(blocks(&prompt), 2);
        assert_eq!(blocks(&prompt[..8 + ahead]), 2);
        assert_eq!(blocks(&prompt[..7 + ahead]), 1, "the tokens behind the second block are unknown");
        assert_eq!(blocks(&[&prompt[..8], &[99; 4]].concat()), 1, "the tokens behind the second block differ");
        assert_eq!(stream.depth(Tier::Device, &prompt), 0, "hashes without a lookahead do not match");
        assert_eq!(stream.publisher.lookahead(), Some(ahead as u32));
    }
}

/// A publisher is believed about the rank that it is registered for, and about ranks that have no publisher.
#[test]
fn a_publisher_cannot_speak_for_the_rank_of_another() {
    let model = model(4);
    let publishers =
        [0, 1].map(|rank| Arc::new(Publisher::zmq(Worker::new(7, rank), format!("tcp://127.0.0.1:{}", rank + 1))));
    for publisher in &publishers {
        model.publishers().put(publisher);
    }
    let say = |publisher: &Publisher, sequence, named: u32, event: Value| {
        apply(&model, publisher, sequence, &batch(&[event], Some(named))).expect("the index is there");
    };
    let store = || stored(&[1, 2], None, &tokens(0, 2), json!({}));
    let held =
        || [0, 1, 2].map(|rank| depth(&model, Tier::Device, Worker::new(7, rank), &hasher().hash(&tokens(0, 2))));
    // The batches of both publishers name rank 0.
    say(&publishers[0], 0, 0, store());
    say(&publishers[1], 0, 0, store());
    assert_eq!(held(), [2, 2, 0]);
    say(&publishers[1], 1, 0, removed(&[1, 2], "GPU"));
    assert_eq!((held(), publishers[1].count(Count::Contradictions)), ([2, 0, 0], 2));
    // The first publisher names rank 1, which belongs to the other.
    say(&publishers[0], 1, 1, removed(&[2], "GPU"));
    assert_eq!((held(), publishers[0].count(Count::Contradictions)), ([1, 0, 0], 1));
    // It may speak for a rank that has no publisher.
    say(&publishers[0], 2, 2, store());
    assert_eq!((held(), publishers[0].count(Count::Contradictions)), ([1, 0, 2], 1));
}

/// An engine and its offloading connector speak for one rank, and each numbers its own batches.
#[test]
fn two_publishers_of_one_rank_do_not_disturb_each_other() {
    let service = Service::start(service::config());
    let [engine, connector] = [zmtp::Publisher::bind(), zmtp::Publisher::bind()];
    register(&service, &engine);
    register(&service, &connector);
    let (mut engine_says, mut connector_says) = (engine.subscriber(), connector.subscriber());
    let prompt = tokens(0, 3);
    let held = || {
        service.flush();
        let (_, answer) = service.post("/query", &json!({"model_name": "m", "token_ids": prompt}));
        ["gpu", "cpu"].map(|tier| answer["instances"]["7"][tier].as_u64().unwrap_or(0) / 4)
    };
    let comes_to = |expected: [u64; 2]| until(&format!("{expected:?} are held"), || held() == expected);
    let host = |hashes: &[u64], parent, from, blocks| {
        payload(&[stored(hashes, parent, &tokens(from, blocks), json!({"medium": "CPU"}))])
    };
    engine_says.send(0, &payload(&[stored(&[1, 2], None, &tokens(0, 2), json!({}))]));
    comes_to([2, 2]);
    // Both publishers begin with batch 0. The third block, in host memory, follows two blocks on the device.
    connector_says.send(0, &host(&[3], Some(2), 2, 1));
    comes_to([2, 3]);
    connector_says.send(1, &host(&[1, 2], None, 0, 2));
    engine_says.send(1, &payload(&[removed(&[2], "GPU")]));
    comes_to([1, 3]);
    // The engine clears its cache, which leaves the connector's as it is.
    engine_says.send(2, &payload(&[cleared()]));
    comes_to([0, 3]);
    engine_says.send(3, &payload(&[stored(&[1], None, &tokens(0, 1), json!({}))]));
    comes_to([1, 3]);
    // The connector restarts. Only the blocks that it stored are dropped.
    drop(connector_says);
    let mut connector_says = connector.subscriber();
    connector_says.send(0, &payload(&[]));
    comes_to([1, 1]);
    let (_, workers) = service.get("/workers");
    let listener = &workers[0]["listeners"]["0"];
    assert_eq!((&listener["last_sequence"], &listener["others"][0]["last_sequence"]), (&json!(3), &json!(0)));
    assert_eq!(service.post("/unregister", &json!({"instance_id": 7, "model_name": "m"})).0, 200);
    assert_eq!(held(), [0, 0]);
    service.server.stop();
}

/// The publisher's copies are counted, and those of events over HTTP are not. Neither removes a block that the other
/// holds.
#[test]
fn a_publisher_and_events_over_http_do_not_disturb_each_other() {
    let service = Service::start(service::config());
    let prompt = tokens(0, 2);
    let local = hasher().hash(&prompt)[0];
    let mut id = 0;
    let mut post = |data: Value| {
        id += 1;
        let event = json!({"worker_id": 7, "event": {"event_id": id, "data": data}});
        let body = json!({"model_name": "m", "block_size": 4, "events": [event]});
        assert_eq!(service.post("/events", &body).1["applied"], 1);
    };
    let store = json!({"stored": {"parent_hash": null, "blocks": [{"block_hash": 1, "tokens_hash": local}]}});
    post(store.clone());
    let engine = zmtp::Publisher::bind();
    register(&service, &engine);
    let mut engine_says = engine.subscriber();
    let held = || {
        service.flush();
        let (_, answer) = service.post("/query", &json!({"model_name": "m", "token_ids": prompt}));
        answer["instances"]["7"]["gpu"].as_u64().unwrap_or(0) / 4
    };
    let mut sequence = 0;
    let mut say = |event: Value, expected: u64| {
        engine_says.send(sequence, &payload(&[event]));
        sequence += 1;
        until(&format!("{expected} blocks are held"), || held() == expected);
    };
    let chain = stored(&[1, 2], None, &prompt, json!({}));
    say(chain.clone(), 2);
    say(chain, 2);
    say(removed(&[2, 1], "GPU"), 2);
    post(store.clone());
    post(store);
    say(removed(&[2, 1], "GPU"), 1);
    post(json!({"removed": {"block_hashes": [1]}}));
    assert_eq!(held(), 0);
    service.server.stop();
}
