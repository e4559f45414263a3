//! What an answer is worth: every row of the table in OPERATIONS.md, and what makes a rank exact again.

use std::sync::Arc;
use std::time::Duration;

use kvleap::service::ingest::{
    DynamoBlock, DynamoData, DynamoEvent, NumberedEvent, Settings, Source, StorageTier, apply, dynamo_events,
};
use kvleap::service::publisher::{Copies, Count, State};
use kvleap::service::{Config, Doubt, Doubts, Ingest, Listener, Model, OverBudget, Publisher, Tier};
use kvleap::{BlockHasher, Worker};
use serde_json::{Value, json};

use crate::common::engine_events::{batch, cleared, removed, stored};
use crate::common::model::{depth, model};
use crate::common::peer::dumping;
use crate::common::scratch::Scratch;
use crate::common::service::{self, Service, events};
use crate::common::until::until;
use crate::common::zmtp::{self, Subscriber};

const WORKER: Worker = Worker::new(7, 0);

/// Blocks of 4 tokens.
fn hasher() -> BlockHasher {
    BlockHasher::new(4).expect("a block size above 0")
}

/// Tokens `4 * from` and so on, of so many blocks.
fn tokens(from: u32, blocks: u32) -> Vec<u32> {
    (4 * from..4 * (from + blocks)).collect()
}

fn payload(events: &[Value]) -> Vec<u8> {
    batch(events, None)
}

/// A publisher whose batches are handed over as a listener would.
struct Told {
    model: Arc<Model>,
    rank: Arc<Publisher>,
    batches: u64,
}

impl Told {
    fn new() -> Self {
        Self::with(Copies::Counted)
    }

    fn with(copies: Copies) -> Self {
        let (model, rank) = (model(4), Arc::new(Publisher::zmq(WORKER, "tcp://127.0.0.1:1").copies(copies)));
        model.publishers().put(&rank);
        Self { model, rank, batches: 0 }
    }

    fn say(&mut self, events: &[Value]) {
        self.say_bytes(&payload(events));
    }

    fn say_bytes(&mut self, payload: &[u8]) {
        apply(&self.model, &self.rank, self.batches, payload).expect("the index is there");
        self.batches += 1;
    }

    /// What is doubted, but for that nobody listens to it here.
    fn doubts(&self) -> Doubts {
        self.model.index().flush().expect("the index is there");
        let doubts = self.model.doubts();
        let own = doubts.iter().filter(|(worker, _)| *worker == WORKER);
        own.fold(Doubts::NONE, |all, &(_, doubts)| all.and(doubts)).without(Doubt::NotHeard.into())
    }

    fn depth(&self, tier: Tier, tokens: &[u32]) -> u32 {
        self.salted(tier, tokens, "")
    }

    fn salted(&self, tier: Tier, tokens: &[u32], salt: &str) -> u32 {
        depth(&self.model, tier, WORKER, &hasher().namespace(salt).hash(tokens))
    }
}

/// A row of the table: the reason, and whatever shows that the doubt is raised, and how it ends.
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
    (Doubt::Budget, over_budget),
    (Doubt::Gap, gap),
    (Doubt::Undecodable, || lasting(Doubt::Undecodable, |told| told.say_bytes(b"\xc1"))),
    (Doubt::UnknownEvent, || {
        lasting(Doubt::UnknownEvent, |told| told.say(&[json!({"type": "TierBlocksCleared", "medium": "GPU"})]));
        lasting(Doubt::UnknownEvent, |told| told.say(&[removed(&[1], "cuda:0")]));
    }),
    (Doubt::Malformed, || lasting(Doubt::Malformed, |told| told.say(&[json!({"type": "BlockRemoved"})]))),
    (Doubt::Misfit, || {
        left_out(Doubt::Misfit, &stored(&[5], None, &[1; 5], json!({})), "GPU");
        let inconsistent = json!({"lookahead_token_ids": [[8], [9]]});
        left_out(Doubt::Misfit, &stored(&[5, 6], None, &[1; 8], inconsistent), "GPU");
    }),
    (Doubt::EventIds, event_ids),
    (Doubt::Unheard, reconnected_unasked),
    (Doubt::Hashing, hashing_changed),
    (Doubt::Restored, restored),
    (Doubt::Copied, copied),
    (Doubt::CatchingUp, catching_up),
    (Doubt::Unreachable, unreachable),
];

#[test]
fn every_row_of_the_table() {
    for (_, check) in ROWS {
        check();
    }
}

#[test]
fn the_table_has_every_reason_once_and_says_its_kind() {
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

/// A store that is left out raises the doubt, and the removal of its blocks, a clear or a restart ends it.
fn left_out(doubt: Doubt, event: &Value, medium: &str) {
    let hashes: Vec<u64> = event["block_hashes"].as_array().expect("hashes").iter().filter_map(Value::as_u64).collect();
    let good = stored(&[1, 2], None, &tokens(0, 2), json!({}));
    for end in [removed(&hashes, medium), cleared()] {
        let mut told = Told::new();
        told.say(&[good.clone(), event.clone()]);
        assert_eq!(told.doubts(), doubt.into(), "{event}");
        assert_eq!(told.depth(Tier::Device, &tokens(0, 2)), 2, "the others of its batch are there");
        // The removal of something else does not end it.
        told.say(&[removed(&[2], "GPU")]);
        assert_eq!(told.doubts(), doubt.into(), "{event}");
        told.say(&[end]);
        assert_eq!(told.doubts(), Doubts::NONE, "{event}");
    }
}

/// Only a clear ends the doubt, and one that comes before does not.
fn lasting(doubt: Doubt, raise: impl Fn(&mut Told)) {
    let mut told = Told::new();
    told.say(&[stored(&[1, 2], None, &tokens(0, 2), json!({})), cleared()]);
    raise(&mut told);
    assert_eq!(told.doubts(), doubt.into());
    told.say(&[stored(&[1, 2], None, &tokens(0, 2), json!({})), removed(&[1, 2], "GPU")]);
    assert_eq!(told.doubts(), doubt.into());
    told.say(&[cleared()]);
    assert_eq!(told.doubts(), Doubts::NONE);
}

#[test]
fn what_cannot_be_read_behind_a_clear_outlives_it() {
    let unknown = json!({"type": "New"});
    for (events, exact) in [([unknown.clone(), cleared()], true), ([cleared(), unknown], false)] {
        let mut told = Told::new();
        told.say(&events);
        assert_eq!(told.doubts().is_empty(), exact, "{events:?}");
    }
}

#[test]
fn a_clear_ends_the_doubts_about_its_rank_alone() {
    let (model, rank) = (model(4), Arc::new(Publisher::zmq(WORKER, "tcp://127.0.0.1:1")));
    model.publishers().put(&rank);
    let say = |sequence, dp_rank: u32, events: &[Value]| {
        apply(&model, &rank, sequence, &batch(events, Some(dp_rank))).expect("the index is there");
    };
    for dp_rank in [0, 1] {
        say(dp_rank.into(), dp_rank, &[json!({"type": "New"})]);
    }
    say(2, 1, &[cleared()]);
    let doubted: Vec<_> = model.doubts().into_iter().filter(|(_, doubts)| doubts.has(Doubt::UnknownEvent)).collect();
    assert_eq!(doubted.iter().map(|(worker, _)| *worker).collect::<Vec<_>>(), [WORKER]);
}

fn rank_too_high() {
    let mut told = Told::new();
    told.say_bytes(&batch(&[cleared()], Some(1 << 28)));
    assert_eq!(told.doubts(), Doubt::Rank.into());
}

fn over_budget() {
    let config = Config { memory_budget: Some(1 << 20), over_budget: OverBudget::Refuse, ..service::config() };
    let service = Service::start(config);
    let held = || service.server.indexer().models().all()[0].index().status().workers[0].held_blocks;
    let mut said = 0;
    // The budget is looked at every now and then: what comes in between is taken.
    until("something is left out", || {
        let locals: Vec<u64> = (said..said + 4096).collect();
        let event = service::stored((7, 0), "device", said, &locals);
        said += 4096;
        assert_eq!(service.post("/events", &events(&[event])).0, 200);
        doubts(&service) == Doubt::Budget.into()
    });
    assert!(held() < said, "{} of {said}", held());
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
    // Nobody has spoken for the worker yet.
    let expected = [Doubt::Copied, Doubt::Unreachable].into_iter().collect();
    assert_eq!((doubts(&service), tokens_held(&service)), (expected, 8));
    exact_once_cleared(service);
}

/// What is doubted of the one worker of the one model.
fn doubts(service: &Service) -> Doubts {
    let doubts = service.server.indexer().models().all()[0].doubts();
    assert!(doubts.iter().all(|(worker, _)| *worker == WORKER), "{doubts:?}");
    doubts.iter().fold(Doubts::NONE, |all, &(_, doubts)| all.and(doubts))
}

/// How many tokens of two blocks whose local hashes are 5 and 6 the worker holds.
fn tokens_held(service: &Service) -> u64 {
    let (_, answer) = service.post("/query_by_hash", &json!({"model_name": "m", "block_hashes": [5, 6]}));
    answer["scores"]["7"]["0"].as_u64().unwrap_or(0)
}

/// A clear ends what is doubted of a worker that speaks over HTTP.
fn exact_once_cleared(service: Service) {
    assert_eq!(service.post("/events", &events(&[service::event((7, 0), "device", json!("cleared"))])).0, 200);
    assert_eq!(doubts(&service), Doubts::NONE);
    service.server.stop();
}

fn hashing_changed() {
    // Three blocks plain, and then one that looks ahead: it would be credited without its following token.
    let mut told = Told::new();
    told.say(&[stored(&[1], None, &tokens(0, 1), json!({}))]);
    told.say(&[stored(&[2], Some(1), &tokens(1, 1), json!({"lookahead_token_ids": [[8]]}))]);
    assert_eq!((told.doubts(), told.depth(Tier::Device, &tokens(0, 2))), (Doubt::Hashing.into(), 2));
    told.say(&[cleared()]);
    assert_eq!(told.doubts(), Doubts::NONE);
    // The other way round it cannot be hashed.
    told.say(&[stored(&[1], None, &tokens(0, 1), json!({"lookahead_token_ids": [[4]]}))]);
    told.say(&[stored(&[2], Some(1), &tokens(1, 1), json!({}))]);
    assert_eq!(told.doubts(), Doubt::Hashing.into());
}

fn event_ids() {
    let (model, rank) = (model(4), Arc::new(Publisher::http(WORKER)));
    model.publishers().put(&rank);
    let say = |id, data| {
        let event = NumberedEvent { event_id: id, data, dp_rank: 0 };
        let event = DynamoEvent { worker_id: 7, storage_tier: StorageTier::Device, event };
        dynamo_events(&model, &rank, &[event]).expect("the index is there");
        model.doubts().first().map(|(_, doubts)| *doubts)
    };
    let block = |name| DynamoBlock { block_hash: name, tokens_hash: name };
    let store = |name| DynamoData::Stored { parent_hash: None, blocks: vec![block(name)] };
    for (id, doubt) in [(1, None), (1, None), (2, None), (4, Some(Doubt::EventIds)), (5, Some(Doubt::EventIds))] {
        assert_eq!(say(id, store(id)), doubt.map(Doubts::from), "{id}");
    }
    assert_eq!(rank.count(Count::Gaps), 1);
    assert_eq!(say(6, DynamoData::Cleared), None);
    assert_eq!(say(4, store(9)), Some(Doubt::EventIds.into()), "it went back");
}

/// A listener to a publisher that the test plays.
struct Heard {
    publisher: zmtp::Publisher,
    model: Arc<Model>,
    rank: Arc<Publisher>,
    _ingest: Ingest,
    _listener: Listener,
}

impl Heard {
    fn new(settings: Settings) -> Self {
        let (publisher, model) = (zmtp::Publisher::bind(), model(4));
        let rank = Arc::new(Publisher::zmq(WORKER, publisher.endpoint()));
        model.publishers().put(&rank);
        let ingest = Ingest::start(settings).expect("threads");
        let source = Source { endpoint: publisher.endpoint(), ..Source::default() };
        let listener = ingest.listen(source, Arc::clone(&model), Arc::clone(&rank), None);
        Self { publisher, model, rank, _ingest: ingest, _listener: listener }
    }

    /// Sends batches with these numbers, in each the block of that number.
    fn send(&self, to: &mut Subscriber, sequences: std::ops::Range<u64>) {
        let last = sequences.end - 1;
        for sequence in sequences {
            to.send(sequence, &payload(&[stored(&[sequence + 1], None, &[sequence as u32; 4], json!({}))]));
        }
        until("heard", || self.rank.last_sequence() == Some(last));
    }

    fn holds(&self, block: u64) -> bool {
        depth(&self.model, Tier::Device, WORKER, &hasher().hash(&[block as u32; 4])) == 1
    }

    fn comes_to(&self, doubts: impl IntoIterator<Item = Doubt>) {
        let doubts: Doubts = doubts.into_iter().collect();
        until(&format!("{doubts:?}, but {:?}", self.rank.doubts()), || self.rank.doubts() == doubts);
    }
}

fn not_heard() {
    let heard = Heard::new(Settings::default());
    assert_eq!((heard.rank.state(), heard.rank.doubts()), (State::Connecting, Doubt::NotHeard.into()));
    let mut to = heard.publisher.subscriber();
    heard.send(&mut to, 0..1);
    heard.comes_to([]);
}

fn joined_late() {
    let heard = Heard::new(Settings::default());
    let mut to = heard.publisher.subscriber();
    // It may have said something before, as long as it has not said its first batch.
    heard.comes_to([Doubt::JoinedLate]);
    heard.send(&mut to, 5..7);
    assert_eq!((heard.rank.state(), heard.rank.count(Count::Lost)), (State::AtLeast, 5));
    assert!(heard.holds(5) && heard.holds(6), "what it said later is there");
    to.send(7, &payload(&[cleared()]));
    heard.comes_to([]);
    assert_eq!(heard.rank.state(), State::Live);
}

fn gap() {
    let heard = Heard::new(Settings::default());
    let mut to = heard.publisher.subscriber();
    heard.send(&mut to, 0..2);
    heard.send(&mut to, 3..4);
    heard.comes_to([Doubt::Gap]);
    assert_eq!(heard.rank.state(), State::Unknown);
    // It restarts on the same connection: a proxy's.
    heard.send(&mut to, 0..1);
    heard.comes_to([]);
    assert!(heard.holds(0) && !heard.holds(1));
}

fn reconnected_unasked() {
    let heard = Heard::new(Settings::default());
    let mut to = heard.publisher.subscriber();
    heard.send(&mut to, 0..3);
    drop(to);
    // Whether it restarted and came exactly as far, or went on: nobody can tell.
    let mut to = heard.publisher.subscriber();
    heard.comes_to([Doubt::Unheard]);
    heard.send(&mut to, 3..4);
    assert_eq!((heard.rank.state(), heard.rank.doubts()), (State::Unknown, Doubt::Unheard.into()));
    assert!(heard.holds(2), "its blocks are still the best guess");
    drop(to);
    let mut to = heard.publisher.subscriber();
    heard.send(&mut to, 0..1);
    heard.comes_to([]);
    assert!(!heard.holds(2), "it restarted, and that is certain");
}

fn unreachable() {
    let settings = Settings { grace: Duration::from_millis(300), ..Settings::default() };
    let heard = Heard::new(settings);
    let mut to = heard.publisher.subscriber();
    heard.send(&mut to, 0..3);
    let Heard { publisher, model, rank, _ingest, _listener } = heard;
    let holds = |block: u32| depth(&model, Tier::Device, WORKER, &hasher().hash(&[block; 4])) == 1;
    // The process ends: nobody can connect.
    drop((to, publisher));
    until("unreachable", || rank.state() == State::Unreachable || rank.state() == State::Gone);
    until("gone", || rank.state() == State::Gone);
    assert!(!holds(2));
    assert_eq!((rank.count(Count::Disconnects), rank.count(Count::Expired), rank.doubts()), (1, 1, Doubts::NONE));
}

#[test]
fn an_unreachable_publisher_is_marked_and_not_chosen() {
    let heard = Heard::new(Settings::default());
    let mut to = heard.publisher.subscriber();
    heard.send(&mut to, 0..1);
    assert!(heard.rank.is_present());
    let Heard { publisher, model, rank, _ingest, _listener } = heard;
    drop((to, publisher));
    until("unreachable", || rank.state() == State::Unreachable);
    assert!(!rank.is_present());
    assert_eq!(model.doubts(), [(WORKER, Doubt::Unreachable.into())]);
    assert_eq!(depth(&model, Tier::Device, WORKER, &hasher().hash(&[0; 4])), 1, "still the best answer");
}

fn catching_up() {
    // Somebody to ask who never answers: the endpoint accepts, and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let replay = format!("tcp://{}", silent.local_addr().expect("bound"));
    let (publisher, model) = (zmtp::Publisher::bind(), model(4));
    let rank = Arc::new(Publisher::zmq(WORKER, publisher.endpoint()));
    model.publishers().put(&rank);
    let settings = Settings { replay_timeout: Duration::from_millis(200), replay_attempts: 1, ..Settings::default() };
    let ingest = Ingest::start(settings).expect("threads");
    let source = Source { endpoint: publisher.endpoint(), replay: Some(replay), ..Source::default() };
    let _listener = ingest.listen(source, Arc::clone(&model), Arc::clone(&rank), None);
    let mut to = publisher.subscriber();
    until("asking", || rank.doubts().has(Doubt::CatchingUp));
    to.send(0, &payload(&[]));
    // It cannot be asked, but its first batch came live.
    until("exact", || rank.last_sequence() == Some(0) && rank.doubts().is_empty());
}

/// A quiet publisher without a replay endpoint: the connection is made anew beside the old one, and as long as that one is
/// alive nothing is doubted.
#[test]
fn silence_is_no_doubt() {
    let settings = Settings { silence: Duration::from_millis(700), ..Settings::default() };
    let heard = Heard::new(settings);
    let mut first = heard.publisher.subscriber();
    heard.send(&mut first, 0..2);
    let mut second = heard.publisher.subscriber();
    // Both hear it, and it counts once.
    let batch = payload(&[stored(&[3], None, &[2; 4], json!({}))]);
    second.send(2, &batch);
    first.send(2, &batch);
    until("heard", || heard.rank.last_sequence() == Some(2));
    assert_eq!((heard.rank.doubts(), heard.rank.count(Count::Batches)), (Doubts::NONE, 3));
    // Now the newer one alone hears something: the older one was dead.
    let mut newer = heard.publisher.subscriber();
    newer.send(3, &payload(&[]));
    until("heard", || heard.rank.last_sequence() == Some(3));
    heard.comes_to([Doubt::Unheard]);
}

#[test]
fn copies_are_counted_by_place() {
    let prompt = tokens(0, 2);
    let store = |medium: &str| stored(&[1, 2], None, &tokens(0, 2), json!({"medium": medium}));
    let mut told = Told::new();
    told.say(&[store("GPU"), store("GPU"), store("CPU"), store("CPU")]);
    told.say(&[removed(&[1, 2], "GPU"), removed(&[1, 2], "CPU")]);
    assert_eq!([Tier::Device, Tier::Host].map(|tier| told.depth(tier, &prompt)), [2, 2], "one copy of each is left");
    told.say(&[removed(&[2, 1], "GPU")]);
    assert_eq!([Tier::Device, Tier::Host].map(|tier| told.depth(tier, &prompt)), [0, 2]);
    // One removal may name a block as often as there are copies of it.
    told.say(&[store("CPU"), removed(&[1, 2, 1, 2], "CPU")]);
    assert_eq!(told.depth(Tier::Host, &prompt), 0);
    assert_eq!(told.doubts(), Doubts::NONE);

    let mut told = Told::with(Copies::Single);
    told.say(&[store("GPU"), store("GPU"), removed(&[1, 2], "GPU")]);
    assert_eq!(told.depth(Tier::Device, &prompt), 0, "the first removal is the end");
}

#[test]
fn a_salt_lasts_as_long_as_a_copy() {
    let salted = || stored(&[1, 2], None, &tokens(0, 2), json!({"extra_keys": [["s"], null]}));
    let mut told = Told::new();
    told.say(&[salted(), salted(), removed(&[2, 1], "GPU")]);
    told.say(&[stored(&[3], Some(2), &tokens(2, 1), json!({}))]);
    assert_eq!(told.salted(Tier::Device, &tokens(0, 3), "s"), 3);
    told.say(&[removed(&[3, 2, 1], "GPU"), stored(&[1], None, &tokens(0, 1), json!({}))]);
    assert_eq!((told.salted(Tier::Device, &tokens(0, 1), "s"), told.depth(Tier::Device, &tokens(0, 1))), (0, 1));
}

/// Offloading events name neither salts nor pictures: the device's blocks say whose they are.
#[test]
fn what_is_offloaded_keeps_its_identity() {
    let mut told = Told::new();
    let salt = json!({"extra_keys": [["s"], [["picture", 0]]]});
    told.say(&[stored(&[1, 2], None, &tokens(0, 2), salt)]);
    told.say(&[stored(&[1, 2], None, &tokens(0, 2), json!({"medium": "CPU"})), removed(&[1, 2], "GPU")]);
    assert_eq!(told.salted(Tier::Host, &tokens(0, 2), "s"), 1, "the second block is the picture's");
    assert_eq!(told.depth(Tier::Host, &tokens(0, 2)), 0, "nobody without the salt has it");
}

#[test]
fn salts_and_pictures_are_told_apart_by_type_and_place() {
    let digest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let prompt = tokens(0, 2);
    let mut told = Told::new();
    told.say(&[stored(&[1, 2], None, &prompt, json!({"extra_keys": [[digest], null]}))]);
    assert_eq!((told.salted(Tier::Device, &prompt, digest), told.depth(Tier::Device, &prompt)), (2, 0));
    // An adapter whose name is also the salt.
    told.say(&[stored(&[3, 4], None, &prompt, json!({"lora_name": "a", "extra_keys": [["a", "a"], ["a"]]}))]);
    let query = hasher().lora("a").namespace("a").hash(&prompt);
    assert_eq!(depth(&told.model, Tier::Device, WORKER, &query), 2);
    assert_eq!(told.doubts(), Doubts::NONE);

    // Nine elements, as vLLM 0.17 to 0.19 has it: a bare name at a sequence's beginning may be a salt or a picture, later
    // it is a picture, and beside a pair it is a salt.
    let old = |hashes: &[u64], parent: Option<u64>, tokens: &[u32], extra: Value| {
        json!(["BlockStored", hashes, parent, tokens, 4, null, "GPU", null, extra])
    };
    let mut told = Told::new();
    told.say(&[old(&[1], None, &tokens(0, 1), json!([[digest]]))]);
    assert_eq!((told.doubts(), told.salted(Tier::Device, &tokens(0, 1), digest)), (Doubt::Keys.into(), 0));
    told.say(&[removed(&[1], "GPU"), old(&[2, 3], None, &prompt, json!([null, [digest]]))]);
    assert_eq!((told.doubts(), told.depth(Tier::Device, &prompt)), (Doubts::NONE, 1));
    told.say(&[old(&[4], None, &tokens(9, 1), json!([[["picture", 0], "salt"]]))]);
    assert_eq!(told.doubts(), Doubts::NONE);
}

#[test]
fn looking_ahead_credits_no_block_too_many() {
    let prompt: Vec<u32> = (0..13).collect();
    for ahead in [1_usize, 3] {
        let mut told = Told::new();
        let behind: Vec<_> = (1..=2).map(|block| &prompt[4 * block..4 * block + ahead]).collect();
        told.say(&[stored(&[1, 2], None, &prompt[..8], json!({"lookahead_token_ids": behind}))]);
        let blocks = |tokens: &[u32]| {
            let query = hasher().lookahead(ahead as u32).hash(tokens);
            depth(&told.model, Tier::Device, WORKER, &query)
        };
        assert_eq!(blocks(&prompt), 2);
        assert_eq!(blocks(&prompt[..8 + ahead]), 2);
        assert_eq!(blocks(&prompt[..7 + ahead]), 1, "the tokens behind the second block are not known yet");
        assert_eq!(blocks(&[&prompt[..8], &[99; 4]].concat()), 1, "they are others");
        assert_eq!(told.depth(Tier::Device, &prompt), 0, "in another way of hashing there is nothing");
        assert_eq!(told.rank.lookahead(), Some(ahead as u32));
    }
}

/// Batches that contradict the registered rank are not taken at their word.
#[test]
fn ranks_of_one_name_do_not_merge() {
    let model = model(4);
    let ranks =
        [0, 1].map(|rank| Arc::new(Publisher::zmq(Worker::new(7, rank), format!("tcp://127.0.0.1:{}", rank + 1))));
    for rank in &ranks {
        model.publishers().put(rank);
    }
    let say = |rank: &Publisher, sequence, named: u32, event: Value| {
        apply(&model, rank, sequence, &batch(&[event], Some(named))).expect("the index is there");
    };
    let store = || stored(&[1, 2], None, &tokens(0, 2), json!({}));
    let held =
        || [0, 1, 2].map(|rank| depth(&model, Tier::Device, Worker::new(7, rank), &hasher().hash(&tokens(0, 2))));
    // Both say that they are rank 0.
    say(&ranks[0], 0, 0, store());
    say(&ranks[1], 0, 0, store());
    assert_eq!(held(), [2, 2, 0]);
    say(&ranks[1], 1, 0, removed(&[1, 2], "GPU"));
    assert_eq!((held(), ranks[1].count(Count::Contradictions)), ([2, 0, 0], 2));
    // The first says that it is the other, which is somebody else's.
    say(&ranks[0], 1, 1, removed(&[2], "GPU"));
    assert_eq!((held(), ranks[0].count(Count::Contradictions)), ([1, 0, 0], 1));
    // Of a rank that nobody is registered as, it may speak.
    say(&ranks[0], 2, 2, store());
    assert_eq!((held(), ranks[0].count(Count::Contradictions)), ([1, 0, 2], 1));
}

/// An engine and its offloading connector, each with numbers of its own, speak for one rank.
#[test]
fn two_publishers_of_one_rank() {
    let service = Service::start(service::config());
    let [engine, connector] = [zmtp::Publisher::bind(), zmtp::Publisher::bind()];
    for endpoint in [engine.endpoint(), connector.endpoint()] {
        let body = json!({"instance_id": 7, "model_name": "m", "block_size": 4, "endpoint": endpoint});
        assert_eq!(service.post("/register", &body).0, 201);
    }
    let (mut engine_says, mut connector_says) = (engine.subscriber(), connector.subscriber());
    let prompt = tokens(0, 3);
    let held = || {
        service.flush();
        let (_, answer) = service.post("/query", &json!({"model_name": "m", "token_ids": prompt}));
        ["gpu", "cpu"].map(|tier| answer["instances"]["7"][tier].as_u64().unwrap_or(0) / 4)
    };
    let comes_to = |expected: [u64; 2]| until(&format!("{expected:?}, but {:?}", held()), || held() == expected);
    let host = |hashes: &[u64], parent, from, blocks| {
        payload(&[stored(hashes, parent, &tokens(from, blocks), json!({"medium": "CPU"}))])
    };
    engine_says.send(0, &payload(&[stored(&[1, 2], None, &tokens(0, 2), json!({}))]));
    comes_to([2, 2]);
    // Both begin with batch 0, and the host's third block continues what the device has.
    connector_says.send(0, &host(&[3], Some(2), 2, 1));
    comes_to([2, 3]);
    connector_says.send(1, &host(&[1, 2], None, 0, 2));
    engine_says.send(1, &payload(&[removed(&[2], "GPU")]));
    comes_to([1, 3]);
    // The engine's cache is cleared; the connector's is its own.
    engine_says.send(2, &payload(&[cleared()]));
    comes_to([0, 3]);
    engine_says.send(3, &payload(&[stored(&[1], None, &tokens(0, 1), json!({}))]));
    comes_to([1, 3]);
    // The connector restarts: what it said is gone, and nothing else.
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

/// What an engine publishes is counted, and what is said of it over HTTP is there or not: neither takes the other's away.
#[test]
fn a_publisher_beside_events_over_http() {
    let service = Service::start(service::config());
    let prompt = tokens(0, 2);
    let local = hasher().hash(&prompt)[0];
    let mut id = 0;
    let mut post = |data: Value| {
        id += 1;
        let event = json!({"worker_id": 7, "event": {"event_id": id, "data": data}});
        let told = json!({"model_name": "m", "block_size": 4, "events": [event]});
        assert_eq!(service.post("/events", &told).1["applied"], 1);
    };
    let store = json!({"stored": {"parent_hash": null, "blocks": [{"block_hash": 1, "tokens_hash": local}]}});
    post(store.clone());
    let engine = zmtp::Publisher::bind();
    let body = json!({"instance_id": 7, "model_name": "m", "block_size": 4, "endpoint": engine.endpoint()});
    assert_eq!(service.post("/register", &body).0, 201);
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
        until(&format!("{expected}, but {}", held()), || held() == expected);
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
