//! Publishers that break the protocol, lie about sizes, stall or never end. Each harms only itself, and the service says
//! what is wrong with it.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use kvleap::Worker;
use kvleap::service::ingest::{Settings, Source};
use kvleap::service::publisher::{Count, State};
use kvleap::service::{Doubt, Ingest, Listener, Model, Publisher};
use serde_json::json;

use crate::common::engine_events::{batch, stored};
use crate::common::model::model;
use crate::common::until::until;
use crate::common::zmtp;

/// Several publishers of one model, each followed by a listener.
struct Fleet {
    model: Arc<Model>,
    ingest: Ingest,
    listeners: Vec<Listener>,
}

impl Fleet {
    fn new(settings: Settings) -> Self {
        Self { model: model(4), ingest: Ingest::start(settings).expect("threads"), listeners: Vec::new() }
    }

    fn follow(&mut self, instance: u64, source: Source) -> Arc<Publisher> {
        let model = Arc::clone(&self.model);
        self.follow_for(&model, instance, source)
    }

    /// Follows a publisher of another model.
    fn follow_for(&mut self, model: &Arc<Model>, instance: u64, source: Source) -> Arc<Publisher> {
        let publisher = Arc::new(Publisher::zmq(Worker::new(instance, 0), &source.endpoint));
        model.publishers().put(&publisher);
        self.listeners.push(self.ingest.listen(source, Arc::clone(model), Arc::clone(&publisher), None));
        publisher
    }
}

fn at(endpoint: impl Into<String>) -> Source {
    Source { endpoint: endpoint.into(), ..Source::default() }
}

fn block(sequence: u64) -> Vec<u8> {
    batch(&[stored(&[sequence + 1], None, &[sequence as u32; 4], json!({}))], None)
}

fn has_error(publisher: &Publisher, what: &str) -> bool {
    publisher.last_error().is_some_and(|error| error.contains(what))
}

/// Lets a publisher break off its connection again and again by sending these bytes, while another one publishes.
fn harms_only_itself(bytes: &[u8], why: &str) {
    let mut fleet = Fleet::new(Settings { message_bytes: 1 << 16, ..Settings::default() });
    let (bad, good) = (zmtp::Publisher::bind(), zmtp::Publisher::bind());
    let hostile = fleet.follow(1, at(bad.endpoint()));
    let ordinary = fleet.follow(2, at(good.endpoint()));
    let mut subscriber = good.subscriber();
    for round in 0..3 {
        let mut victim = bad.subscriber();
        victim.send(round, &block(round));
        victim.raw(bytes);
        until("the hostile publisher is disconnected, and the reason is known", || has_error(&hostile, why));
        subscriber.send(round, &block(round));
        until("the ordinary publisher is heard", || ordinary.last_sequence() == Some(round));
        assert_eq!(hostile.last_sequence(), Some(round), "what it said before was applied");
    }
    assert_eq!(ordinary.count(Count::Disconnects), 0);
    let mut again = bad.subscriber();
    again.send(3, &block(3));
    until("the publisher is followed again", || hostile.last_sequence() == Some(3) && hostile.last_error().is_none());
}

#[test]
fn an_absurd_size_ends_only_the_connection_that_announced_it() {
    for size in [1 << 17, 1 << 40, u64::MAX >> 1, u64::MAX] {
        harms_only_itself(&[&[2][..], &size.to_be_bytes()].concat(), "max_message_bytes");
    }
}

#[test]
fn the_frames_of_a_message_count_together() {
    let half = [&[3][..], &(40_u64 << 10).to_be_bytes(), &vec![0; 40 << 10]].concat();
    harms_only_itself(&half.repeat(2), "max_message_bytes");
}

#[test]
fn a_message_of_endless_frames_ends_its_connection() {
    harms_only_itself(&[1, 1, b'x'].repeat(10_000), "more than 16 frames");
    harms_only_itself(&[1, 0].repeat(10_000), "more than 16 frames");
}

#[test]
fn impossible_flags_and_long_commands_end_their_connection() {
    harms_only_itself(&[0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0], "impossible flags");
    harms_only_itself(&[&[6][..], &(1_u64 << 20).to_be_bytes()].concat(), "command is too long");
}

#[test]
fn what_is_announced_costs_nothing_until_it_arrives() {
    // There is room for one message of the largest size. Many publishers announce such messages and send nothing more.
    let settings = Settings { message_bytes: 1 << 20, memory: 1 << 20, ..Settings::default() };
    let mut fleet = Fleet::new(settings);
    let mut open = Vec::new();
    for instance in 0..20 {
        let bad = zmtp::Publisher::bind();
        fleet.follow(instance, at(bad.endpoint()));
        let mut victim = bad.subscriber();
        victim.raw(&[&[2][..], &(1_u64 << 20).to_be_bytes()].concat());
        open.push((bad, victim));
    }
    let good = zmtp::Publisher::bind();
    let ordinary = fleet.follow(100, at(good.endpoint()));
    let mut subscriber = good.subscriber();
    let large = batch(&[stored(&[1], None, &[7; 4], json!({"lora_name": "x".repeat(900 << 10)}))], None);
    subscriber.send(0, &large);
    until("a large message arrives", || ordinary.last_sequence() == Some(0));
}

/// A message arrives byte by byte, with pings in between, and each ping is answered.
#[test]
fn messages_and_pings_may_arrive_in_any_pieces() {
    let mut fleet = Fleet::new(Settings::default());
    let engine = zmtp::Publisher::bind();
    let publisher = fleet.follow(1, at(engine.endpoint()));
    let mut subscriber = engine.subscriber();
    for sequence in 0..3 {
        let ping = [&[4, 11][..], b"\x04PING\0\x0aping"].concat();
        for byte in [ping.clone(), zmtp::encoded(&[b"", &u64::to_be_bytes(sequence), &block(sequence)])].concat() {
            subscriber.raw(&[byte]);
        }
        assert_eq!(subscriber.frame(), b"\x04PONGping");
    }
    until("all batches are applied", || publisher.last_sequence() == Some(2));
    assert_eq!(publisher.count(Count::Disconnects), 0);
}

#[test]
fn why_there_is_no_connection_is_said() {
    let mut fleet = Fleet::new(Settings::default());
    let unknown = fleet.follow(1, at("tcp://no-such-name.invalid:5557"));
    let refused = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let nobody = fleet.follow(2, at(format!("tcp://{refused}")));
    // It answers, but in another protocol.
    let web = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let other = fleet.follow(3, at(format!("tcp://{}", web.local_addr().expect("bound"))));
    std::thread::spawn(move || {
        for mut stream in web.incoming().map_while(Result::ok) {
            let _ = stream
                .write_all(&b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".repeat(2));
        }
    });
    let router = zmtp::Publisher::bind();
    let swapped = fleet.follow(4, at(router.endpoint()));
    std::thread::spawn(move || router.refuse_as("ROUTER"));
    until("the name does not resolve", || has_error(&unknown, "does not resolve"));
    until("nobody listens", || has_error(&nobody, "cannot connect"));
    until("it is another protocol", || has_error(&other, "does not speak ZMTP"));
    until("it is another kind of socket", || has_error(&swapped, "endpoint and replay_endpoint swapped"));
    for publisher in [&unknown, &nobody, &other, &swapped] {
        assert_eq!(publisher.state(), State::Connecting, "it was never connected: {:?}", publisher.last_error());
    }
    until("what is likely to be wrong is said", || has_error(&nobody, "\"bind\": true"));
}

#[test]
fn whoever_is_mute_does_not_hold_a_bound_socket_up() {
    let mut fleet = Fleet::new(Settings::default());
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port();
    let source = Source { bind: true, ..at(format!("tcp://127.0.0.1:{port}")) };
    let publisher = fleet.follow(1, source);
    until("the socket is bound", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    let mut mute: Vec<_> = (0..20).map(|_| TcpStream::connect(("127.0.0.1", port)).expect("it is bound")).collect();
    let mut engine = zmtp::connect(port);
    engine.send(0, &block(0));
    until("the engine is heard", || publisher.last_sequence() == Some(0));
    // Reading to the end returns when the service has closed the connection.
    let greeting = mute.pop().expect("there are twenty").read_to_end(&mut Vec::new()).expect("it is closed in order");
    assert_eq!(greeting, 64);
}

#[test]
fn publishers_share_a_bound_socket_and_are_told_by_topic() {
    let mut fleet = Fleet::new(Settings::default());
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port();
    let shared = |topic: &str| Source { bind: true, topic: topic.to_owned(), ..at(format!("tcp://127.0.0.1:{port}")) };
    let first = fleet.follow(1, shared("kv@pod-1@m"));
    let second = fleet.follow(2, shared("kv@pod-2"));
    let taken = fleet.follow(3, shared("kv@pod-2"));
    until("the topic is taken", || has_error(&taken, "topic \"kv@pod-2\"") || has_error(&second, "topic \"kv@pod-2\""));
    let (second, taken) = if taken.last_error().is_some() { (second, taken) } else { (taken, second) };
    until("the socket is bound", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    let (mut one, mut two, mut stranger) = (zmtp::connect(port), zmtp::connect(port), zmtp::connect(port));
    for sequence in 0..3_u64 {
        stranger.message(&[b"kv@pod-11@m", &sequence.to_be_bytes(), &block(99)]);
        two.message(&[b"kv@pod-2@m", &sequence.to_be_bytes(), &block(sequence)]);
        one.message(&[b"kv@pod-1@m", &sequence.to_be_bytes(), &block(sequence)]);
    }
    for publisher in [&first, &second] {
        until("all its batches are applied", || publisher.last_sequence() == Some(2));
        assert_eq!((publisher.count(Count::Batches), publisher.count(Count::Gaps)), (3, 0));
        assert_eq!(publisher.last_error(), None);
    }
    assert_eq!((taken.count(Count::Batches), taken.state()), (0, State::Connecting));
    // One that goes is missed alone.
    drop(one);
    until("it is unreachable", || first.state() == State::Unreachable);
    two.message(&[b"kv@pod-2@m", &3_u64.to_be_bytes(), &block(3)]);
    until("the other one is still heard", || second.last_sequence() == Some(3));
    // It comes back as another process, which begins again.
    let mut again = zmtp::connect(port);
    again.message(&[b"kv@pod-1@m", &0_u64.to_be_bytes(), &block(7)]);
    until("it is heard again", || first.last_sequence() == Some(0));
    assert_eq!(first.count(Count::Restarts), 1);
}

#[test]
fn a_bound_socket_that_nobody_connects_to_says_what_may_be_wrong() {
    let mut fleet = Fleet::new(Settings::default());
    let publisher = fleet.follow(1, Source { bind: true, ..at("tcp://127.0.0.1:0") });
    until("what may be wrong is said", || has_error(&publisher, "waits for connections itself"));
    assert_eq!(publisher.state(), State::Connecting);
}

/// A publisher whose replays never end: with numbers that rise for ever, or that stay.
fn endless_replay(rises: bool) -> (Fleet, Arc<Publisher>, zmtp::Subscriber) {
    let settings = Settings {
        replay_whole: Duration::from_secs(1),
        replay_attempts: 1,
        probe: Duration::from_millis(200),
        ..Settings::default()
    };
    let mut fleet = Fleet::new(settings);
    let (engine, replays) = (zmtp::Publisher::bind(), zmtp::Publisher::bind());
    let source = Source { replay: Some(replays.endpoint()), ..at(engine.endpoint()) };
    std::thread::spawn(move || {
        replays.answer(|client| {
            for sequence in 0_u64.. {
                client.try_message(&[b"", &if rises { sequence } else { 0 }.to_be_bytes(), &block(sequence % 100)])?;
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(())
        });
    });
    let publisher = fleet.follow(1, source);
    let subscriber = engine.subscriber();
    (fleet, publisher, subscriber)
}

#[test]
fn a_replay_without_an_end_is_given_up_and_doubted() {
    for (rises, why) in [(true, "did not end in time"), (false, "do not rise")] {
        let (_fleet, publisher, _subscriber) = endless_replay(rises);
        until("the replay is given up", || has_error(&publisher, why));
        until("nobody waits for it any more", || publisher.state() != State::Replaying);
        until("the publisher is doubted", || {
            let doubts = publisher.doubts();
            doubts.has(Doubt::Unheard) || doubts.has(Doubt::JoinedLate) || doubts.has(Doubt::Gap)
        });
    }
}

/// Several messages of the largest size arrive a little at a time, all at once: each has a part of the memory that it
/// needs, and there is not enough for all.
#[test]
fn large_messages_that_share_too_little_memory_all_arrive() {
    let settings = Settings { message_bytes: 1 << 20, memory: 1 << 20, ..Settings::default() };
    let mut fleet = Fleet::new(settings);
    let large = batch(&[stored(&[1], None, &[7; 4], json!({"lora_name": "x".repeat(900 << 10)}))], None);
    let bytes = zmtp::encoded(&[b"", &0_u64.to_be_bytes(), &large]);
    let mut open = Vec::new();
    for instance in 0..4 {
        let engine = zmtp::Publisher::bind();
        let publisher = fleet.follow(instance, at(engine.endpoint()));
        open.push((engine.subscriber(), publisher, engine));
    }
    for part in bytes.chunks(100 << 10) {
        for (subscriber, ..) in &mut open {
            subscriber.raw(part);
        }
    }
    for (_, publisher, _) in &open {
        until("the message arrives", || publisher.last_sequence() == Some(0));
        assert_eq!(publisher.count(Count::Disconnects), 0, "{:?}", publisher.last_error());
    }
}

/// A second connection takes the place of an engine's, and goes.
#[test]
fn a_connection_that_comes_and_goes_does_not_silence_a_bound_publisher() {
    let mut fleet = Fleet::new(Settings::default());
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port();
    let publisher = fleet.follow(1, Source { bind: true, ..at(format!("tcp://127.0.0.1:{port}")) });
    until("the socket is bound", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    let mut engine = zmtp::connect(port);
    engine.send(0, &block(0));
    until("the engine is heard", || publisher.last_sequence() == Some(0));
    let visitor = zmtp::connect(port);
    until("the visitor counts as the publisher", || publisher.doubts().has(Doubt::Unheard));
    drop(visitor);
    until("the visitor has gone", || publisher.state() == State::Unreachable);
    engine.send(1, &block(1));
    until("the engine is heard again", || publisher.last_sequence() == Some(1));
}

#[test]
fn a_file_in_the_place_of_a_socket_is_left_alone() {
    let scratch = crate::common::scratch::Scratch::new("no-socket");
    let path = scratch.file("state", b"precious");
    let mut fleet = Fleet::new(Settings::default());
    let publisher = fleet.follow(1, Source { bind: true, ..at(format!("ipc://{path}")) });
    until("it cannot be bound", || has_error(&publisher, "cannot listen"));
    assert_eq!(std::fs::read(&path).expect("it is there"), b"precious");
    // A socket that nobody listens on any more is replaced.
    let path = scratch.path("socket");
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket"));
    let publisher = fleet.follow(2, Source { bind: true, ..at(format!("ipc://{path}")) });
    until("it is bound", || std::os::unix::net::UnixStream::connect(&path).is_ok());
    assert!(!has_error(&publisher, "cannot listen"));
}

/// All publishers share one thread. While a snapshot of one model is taken, the others are heard.
#[test]
fn a_model_at_rest_keeps_only_its_own_publishers_waiting() {
    let mut fleet = Fleet::new(Settings { threads: 1, ..Settings::default() });
    let (resting, other) = (zmtp::Publisher::bind(), zmtp::Publisher::bind());
    let waits = fleet.follow(1, at(resting.endpoint()));
    let goes_on = fleet.follow_for(&model(4), 2, at(other.endpoint()));
    let (mut to_resting, mut to_other) = (resting.subscriber(), other.subscriber());
    let at_rest = Arc::clone(&fleet.model);
    let at_rest = at_rest.at_rest();
    to_resting.send(0, &block(0));
    // The first of these may arrive before the batch that has to wait.
    for round in 0..50 {
        to_other.send(round, &block(round));
        until("the other model's publisher is heard", || goes_on.last_sequence() == Some(round));
    }
    assert_eq!(waits.last_sequence(), None);
    drop(at_rest);
    until("the batch that waited is applied", || waits.last_sequence() == Some(0));
}
