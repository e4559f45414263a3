//! Many publishers, one that floods, one whose connection is half open: with the tightest bounds nothing is lost.

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

/// A publisher in this process, what listens to it, and where it all goes.
struct Pair {
    publisher: MockPublisher,
    state: String,
    _scratch: Scratch,
    _ingest: Ingest,
    _listeners: Vec<Listener>,
    ranks: Vec<Arc<Publisher>>,
    model: Arc<Model>,
}

impl Pair {
    /// `place` says where a source is to be heard instead.
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
        let publisher = MockPublisher::start(options).expect("free ports");
        let rank = |number: u16| {
            let source = place(base.of_rank(number).expect("a port"));
            let rank = Arc::new(Publisher::zmq(Worker::new(7, number.into()), &source.endpoint));
            (ingest.listen(source, Arc::clone(&model), Arc::clone(&rank), None), rank)
        };
        let (listeners, ranks) = (0..numbers).map(rank).unzip();
        Self { publisher, state, _scratch: scratch, _ingest: ingest, _listeners: listeners, ranks, model }
    }

    /// Waits until all requests are served and known, and compares all answers.
    fn settle(&self) {
        until("all requests served", || self.publisher.is_done());
        self.publisher.pause().expect("a place for the state");
        let state: EngineState =
            serde_json::from_slice(&fs::read(&self.state).expect("the state")).expect("a state in JSON");
        for (rank, state) in self.ranks.iter().zip(&state.ranks) {
            until("all batches known", || rank.last_sequence() == state.batches.checked_sub(1));
        }
        let mut judge = Judge::default();
        judge.add(7, &state);
        self.model.index().flush().expect("the index is there");
        let mut matches = Matches::new();
        for query in judge.queries() {
            self.model.index().find(&query, &mut matches);
            assert_eq!(matches.iter().collect::<BTreeMap<_, _>>(), judge.depths(&query));
        }
        assert!(self.ranks.iter().all(|rank| rank.doubts().without(Doubt::CatchingUp.into()).is_empty()));
    }

    fn count(&self, what: Count) -> u64 {
        self.ranks.iter().map(|rank| rank.count(what)).sum()
    }
}

fn impatient() -> Settings {
    Settings { probe: Duration::from_millis(300), replay_timeout: Duration::from_secs(2), ..Settings::default() }
}

#[test]
fn hundreds_of_publishers() {
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

/// Every queue on the way holds next to nothing.
#[test]
fn a_flood_is_caught_up_with() {
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

/// Passes connections on, and can make those that there are half open: nothing more gets through, and nobody is told.
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
                            // What is read after the cut is nobody's; the other end hears nothing, not even an end.
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
    until("heard", || pair.count(Count::Batches) > 5);
    tunnel.borrow().as_ref().expect("it was made").cuts.fetch_add(1, Relaxed);
    let (heard, replayed) = (pair.count(Count::Batches), pair.count(Count::Replayed));
    // First there is nothing but what probes bring, then live batches again.
    until("heard again", || pair.count(Count::Batches) - heard > pair.count(Count::Replayed) - replayed + 5);
    assert!(pair.count(Count::Replayed) > replayed && pair.count(Count::Disconnects) > 0);
    pair.settle();
}
