//! Many publishers, a publisher that floods, and a connection that is half open. Nothing is lost, even with the
//! tightest bounds.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use kvleap::service::ingest::{Settings, Source};
use kvleap::service::mock_publisher::{EngineState, Form, MockPublisher, Options};
use kvleap::service::publisher::Count;
use kvleap::service::{Doubt, Ingest, Key, Listener, Model, Models, Publisher};
use kvleap::{Builder, Index, Matches, Worker};

use crate::common::engine::free_ports;
use crate::common::judge::Judge;
use crate::common::scratch::Scratch;
use crate::common::until::until;

/// A mock engine in this process, a listener to each of its ranks, and the model that the listeners feed.
struct Pair {
    engine: MockPublisher,
    state: String,
    _scratch: Scratch,
    _ingest: Ingest,
    _listeners: Vec<Listener>,
    publishers: Vec<Arc<Publisher>>,
    model: Arc<Model>,
}

impl Pair {
    /// Starts an engine and listeners. `place` may redirect a listener to another source.
    fn new(test: &str, options: Options, settings: Settings, index: Builder, place: impl Fn(Source) -> Source) -> Self {
        let scratch = Scratch::new(test);
        let state = scratch.path("state.json");
        let endpoint = || format!("tcp://127.0.0.1:{}", free_ports(options.ranks));
        let options =
            Options { endpoint: endpoint(), replay: Some(endpoint()), state: Some(state.clone().into()), ..options };
        let base = Source { endpoint: options.endpoint.clone(), replay: options.replay.clone(), ..Source::default() };
        let model = Models::new(index, 1).get_or_add(&Key::new("m"), options.block_size).expect("valid settings");
        let ingest = Ingest::start(settings).expect("threads");
        let numbers = options.ranks;
        let engine = MockPublisher::start(options).expect("free ports");
        let listen = |number: u16| {
            let source = place(base.of_rank(number).expect("a port"));
            let publisher = Arc::new(Publisher::zmq(Worker::new(7, number.into()), &source.endpoint));
            (ingest.listen(source, Arc::clone(&model), Arc::clone(&publisher), None), publisher)
        };
        let (listeners, publishers) = (0..numbers).map(listen).unzip();
        Self { engine, state, _scratch: scratch, _ingest: ingest, _listeners: listeners, publishers, model }
    }

    /// Waits until all requests are served and all batches have arrived, and compares every answer with what the engine
    /// holds.
    fn settle(&self) {
        until("all requests are served", || self.engine.is_done());
        self.engine.pause().expect("a place for the state");
        let state: EngineState =
            serde_json::from_slice(&fs::read(&self.state).expect("the state")).expect("a state in JSON");
        for (publisher, state) in self.publishers.iter().zip(&state.ranks) {
            until("all batches are known", || publisher.last_sequence() == state.batches.checked_sub(1));
        }
        let mut judge = Judge::default();
        judge.add(7, &state);
        self.model.index().flush().expect("the index is there");
        let mut matches = Matches::new();
        for query in judge.queries() {
            self.model.index().find(&query, &mut matches);
            assert_eq!(matches.iter().collect::<BTreeMap<_, _>>(), judge.depths(&query));
        }
        assert!(
            self.publishers.iter().all(|publisher| publisher.doubts().without(Doubt::CatchingUp.into()).is_empty())
        );
    }

    fn count(&self, what: Count) -> u64 {
        self.publishers.iter().map(|publisher| publisher.count(what)).sum()
    }
}

fn impatient() -> Settings {
    Settings { probe: Duration::from_millis(300), replay_timeout: Duration::from_secs(2), ..Settings::default() }
}

#[test]
fn hundreds_of_publishers_are_followed_without_loss() {
    let options = Options {
        ranks: 200,
        requests: Some(2),
        rate: 2.0,
        block_size: 256,
        blocks: 100,
        drop: 0.2,
        ..Options::default()
    };
    let pair = Pair::new("hundreds", options, impatient(), Index::builder(), |source| source);
    pair.settle();
    assert!(pair.count(Count::Batches) >= 400);
}

/// Every queue on the way has room for one element.
#[test]
fn the_service_catches_up_with_a_flood() {
    let options = Options {
        requests: Some(300),
        rate: 10_000.0,
        block_size: 256,
        blocks: 200,
        drop: 0.3,
        form: Form::Array,
        ..Options::default()
    };
    let settings = Settings { held_batches: 1, ..impatient() };
    let pair = Pair::new("flood", options, settings, Index::builder().mailbox(1), |source| source);
    pair.settle();
    assert!(pair.count(Count::Replayed) > 0 && pair.count(Count::HeldBack) > 0);
}

/// A proxy that can cut its open connections silently: nothing more gets through, and neither end is told.
#[derive(Clone)]
struct Tunnel {
    port: u16,
    cuts: Arc<AtomicU64>,
}

impl Tunnel {
    fn new(endpoint: &str) -> Self {
        let to = endpoint.strip_prefix("tcp://").expect("over TCP").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let tunnel = Self { port: listener.local_addr().expect("bound").port(), cuts: Arc::default() };
        let cuts = Arc::clone(&tunnel.cuts);
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let Ok(far) = TcpStream::connect(&to) else { continue };
                let made = cuts.load(Relaxed);
                for (mut from, mut to) in [(&near, &far), (&far, &near)]
                    .map(|(from, to)| (from.try_clone().expect("a handle"), to.try_clone().expect("a handle")))
                {
                    let cuts = Arc::clone(&cuts);
                    std::thread::spawn(move || {
                        let mut room = [0; 4096];
                        while let Ok(read @ 1..) = from.read(&mut room) {
                            // After a cut, drop what is read. The other end receives nothing more, not even a close.
                            if cuts.load(Relaxed) == made && to.write_all(&room[..read]).is_err() {
                                break;
                            }
                        }
                        if cuts.load(Relaxed) == made {
                            let _ = to.shutdown(Shutdown::Both);
                        }
                    });
                }
            }
        });
        tunnel
    }

    fn endpoint(&self) -> String {
        format!("tcp://127.0.0.1:{}", self.port)
    }
}

#[test]
fn a_half_open_connection_is_noticed() {
    let options = Options { requests: Some(120), rate: 20.0, block_size: 256, blocks: 200, ..Options::default() };
    let tunnel = RefCell::new(None);
    let through = |source: Source| {
        let made = Tunnel::new(&source.endpoint);
        let endpoint = made.endpoint();
        tunnel.replace(Some(made));
        Source { endpoint, ..source }
    };
    let pair = Pair::new("half_open", options, impatient(), Index::builder(), through);
    until("some batches have arrived", || pair.count(Count::Batches) > 5);
    tunnel.borrow().as_ref().expect("it was made").cuts.fetch_add(1, Relaxed);
    let (heard, replayed) = (pair.count(Count::Batches), pair.count(Count::Replayed));
    // At first only probes bring batches, and later the live stream brings them again.
    until("live batches arrive again", || {
        pair.count(Count::Batches) - heard > pair.count(Count::Replayed) - replayed + 5
    });
    assert!(pair.count(Count::Replayed) > replayed && pair.count(Count::Replaced) > 0);
    assert_eq!(pair.count(Count::Disconnects), 0, "nobody hung up, and there always was a connection");
    pair.settle();
}

/// Only probes bring its batches, so its connection looks half open, but it is not.
#[test]
fn an_engine_that_drops_its_batches_is_not_said_to_have_disconnected() {
    let options = Options { requests: Some(20), rate: 5.0, block_size: 256, drop: 1.0, ..Options::default() };
    let pair = Pair::new("dropping", options, impatient(), Index::builder(), |source| source);
    until("the service replaces the connection", || pair.count(Count::Replaced) > 0);
    pair.settle();
    assert_eq!(pair.count(Count::Disconnects), 0);
}
