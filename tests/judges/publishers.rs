//! The publishers of real engines, in both generations: what they store, remove and clear, what they are asked for
//! again, and how they begin anew, all end in the right answers.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use kvleap::service::ingest::{Settings, Source};
use kvleap::service::publisher::{Count, Resume, State};
use kvleap::service::{Ingest, Listener, Model, Publisher, Tier};
use kvleap::{BlockHasher, Worker};
use serde_json::{Value, json};

use crate::common::engine::{Process, free_ports};
use crate::common::model::{depth, model};
use crate::common::shared;
use crate::common::until::until;
use crate::fetched;

const WORKER: Worker = Worker::new(7, 0);

/// How to start one version's publisher.
struct Engine {
    python: PathBuf,
    script: PathBuf,
    wheel: PathBuf,
}

/// Positional and tagged events, replays without a topic and with one.
fn engines() -> Vec<Engine> {
    let (Some(cache), Some(script)) = (fetched(), shared::shared("check/sglang_publisher.py")) else { return vec![] };
    let wheels =
        std::fs::read_dir(cache.join("wheels")).expect("the wheels").map(|entry| entry.expect("a file").path());
    let mut wheels: Vec<_> = wheels.collect();
    wheels.sort();
    assert_eq!(wheels.len(), 2, "{wheels:?}");
    let engine = |wheel| Engine { python: cache.join("venv/bin/python"), script: script.clone(), wheel };
    wheels.into_iter().map(engine).collect()
}

/// A running publisher.
struct EngineProcess {
    process: Process,
    said: usize,
}

/// Where it is to be found, and how much it remembers.
#[derive(Clone)]
struct Place {
    source: Source,
    topic: &'static str,
    buffer_steps: u32,
}

impl Place {
    fn new() -> Self {
        let endpoint = || format!("tcp://127.0.0.1:{}", free_ports(1));
        let source = Source { endpoint: endpoint(), replay: Some(endpoint()), ..Source::default() };
        Self { source, topic: "kv-events", buffer_steps: 1000 }
    }
}

impl Engine {
    fn start(&self, place: &Place) -> EngineProcess {
        let mut command = Command::new(&self.python);
        // With a wildcard the publisher binds; without, it connects.
        let wildcard = |endpoint: &str| endpoint.replace("127.0.0.1", "*");
        let endpoint = if place.source.bind { place.source.endpoint.clone() } else { wildcard(&place.source.endpoint) };
        command.arg(&self.script).arg(&self.wheel).args(["--endpoint", &endpoint, "--topic", place.topic]);
        command.args(["--buffer-steps", &place.buffer_steps.to_string()]);
        if let Some(replay) = &place.source.replay {
            command.args(["--replay", &wildcard(replay)]);
        }
        let mut process = Process::start(&mut command);
        assert_eq!(process.line(), "READY");
        EngineProcess { process, said: 0 }
    }
}

impl EngineProcess {
    fn say(&mut self, events: &Value) {
        self.process.tell(&events.to_string());
        self.said += 1;
        assert_eq!(self.process.line(), format!("sent {}", self.said));
    }

    /// Blocks `from..to` of the one sequence there is, each named by its number from 1.
    fn store(&mut self, from: u32, to: u32) {
        let hashes: Vec<u32> = (from + 1..=to).collect();
        let parent = (from > 0).then_some(from);
        self.say(&json!([{"type": "BlockStored", "block_hashes": hashes, "parent_block_hash": parent,
            "token_ids": tokens(from, to), "block_size": 4, "medium": "GPU"}]));
    }

    fn remove(&mut self, block: u32) {
        self.say(&json!([{"type": "BlockRemoved", "block_hashes": [block + 1], "medium": "GPU"}]));
    }

    fn clear(&mut self) {
        self.say(&json!([{"type": "AllBlocksCleared"}]));
    }
}

fn tokens(from: u32, to: u32) -> Vec<u32> {
    (from * 4..to * 4).collect()
}

/// What listens to it.
struct Ear {
    ingest: Ingest,
    model: Arc<Model>,
    rank: Arc<Publisher>,
    listener: Option<Listener>,
    place: Place,
}

impl Ear {
    fn new(place: &Place) -> Self {
        Self::patient(place, Duration::from_secs(1))
    }

    fn patient(place: &Place, grace: Duration) -> Self {
        let settings = Settings {
            grace,
            probe: Duration::from_millis(300),
            replay_timeout: Duration::from_secs(2),
            ..Settings::default()
        };
        let ingest = Ingest::start(settings).expect("threads");
        let rank = Arc::new(Publisher::zmq(WORKER, &place.source.endpoint));
        let mut ear = Self { ingest, model: model(4), rank, listener: None, place: place.clone() };
        ear.listen(None);
        ear
    }

    fn listen(&mut self, resume: Option<Resume>) {
        let (model, rank) = (Arc::clone(&self.model), Arc::clone(&self.rank));
        self.listener = Some(self.ingest.listen(self.place.source.clone(), model, rank, resume));
    }

    fn stop(&mut self) {
        let listener = self.listener.take().expect("it listens");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(listener.stop());
    }

    fn depth(&self) -> u32 {
        let query = BlockHasher::new(4).expect("above 0").hash(&tokens(0, 100));
        depth(&self.model, Tier::Device, WORKER, &query)
    }

    #[track_caller]
    fn comes_to(&self, depth: u32) {
        until(&format!("depth {depth}, but {} and {:?}", self.depth(), self.rank), || self.depth() == depth);
    }

    fn count(&self, what: Count) -> u64 {
        self.rank.count(what)
    }
}

/// Returns once the publisher has said so many batches. It queues them, so whoever listens early still hears the last of
/// them live.
fn has_said(place: &Place, batches: u64) {
    let scout = Ear::new(place);
    until("said", || scout.rank.last_sequence() == batches.checked_sub(1));
}

#[test]
fn store_remove_clear() {
    for engine in engines() {
        let place = Place::new();
        // It listens before there is anything to hear.
        let ear = Ear::new(&place);
        let mut publisher = engine.start(&place);
        publisher.store(0, 3);
        ear.comes_to(3);
        publisher.store(3, 5);
        ear.comes_to(5);
        publisher.remove(4);
        publisher.remove(1);
        ear.comes_to(1);
        publisher.store(1, 2);
        ear.comes_to(4);
        publisher.clear();
        ear.comes_to(0);
        assert_eq!(ear.rank.state(), State::Live);
        assert_eq!((ear.rank.last_sequence(), ear.count(Count::Batches)), (Some(5), 6));
        assert!(ear.rank.last_seen().is_some() && ear.rank.lag() < Duration::from_secs(60));
    }
}

#[test]
fn what_was_missed_is_asked_for() {
    for engine in engines() {
        let place = Place::new();
        let mut publisher = engine.start(&place);
        (0..20).for_each(|block| publisher.store(block, block + 1));
        has_said(&place, 20);
        let mut ear = Ear::new(&place);
        ear.comes_to(20);
        assert_eq!(ear.count(Count::Replayed), 20);
        // It goes on while nobody listens, as it would while the service is started anew.
        ear.stop();
        let resume = ear.rank.checkpoint();
        assert_eq!(resume.position.next_sequence, 20);
        (20..40).for_each(|block| publisher.store(block, block + 1));
        ear.listen(Some(resume));
        ear.comes_to(40);
        publisher.store(40, 41);
        ear.comes_to(41);
        assert_eq!((ear.count(Count::Batches), ear.count(Count::Lost)), (41, 0));
        until("exact", || !ear.rank.is_doubtful());
    }
}

#[test]
fn what_replay_no_longer_has_is_doubted_until_it_is_cleared() {
    for engine in engines() {
        let place = Place { buffer_steps: 2, ..Place::new() };
        let mut publisher = engine.start(&place);
        (0..5).for_each(|block| publisher.store(block, block + 1));
        has_said(&place, 5);
        let ear = Ear::new(&place);
        // What was stored before may still be there; what was removed before was never known.
        until("doubted", || ear.rank.state() == State::AtLeast);
        until("five batches", || ear.rank.last_sequence() == Some(4));
        assert_eq!((ear.depth(), ear.count(Count::Lost), ear.count(Count::Replayed)), (0, 3, 2));
        publisher.clear();
        until("cleared", || !ear.rank.is_doubtful());
        publisher.store(0, 2);
        ear.comes_to(2);
    }
}

#[test]
fn a_publisher_that_begins_anew_is_noticed() {
    for engine in engines() {
        let place = Place::new();
        // On a busy machine an engine may take seconds to start.
        let ear = Ear::patient(&place, Duration::from_secs(60));
        for (life, said) in [(0, 3), (1, 1), (2, 5)] {
            let mut publisher = engine.start(&place);
            (0..said).for_each(|block| publisher.store(block, block + 1));
            ear.comes_to(said);
            until("a new life", || ear.count(Count::Restarts) == life);
            until("exact", || !ear.rank.is_doubtful());
        }
        drop(ear);
        // One that is not coming back: after the grace period nothing is left of it.
        let mut publisher = engine.start(&place);
        publisher.store(0, 5);
        let ear = Ear::new(&place);
        ear.comes_to(5);
        drop(publisher);
        ear.comes_to(0);
        until("gone", || ear.rank.state() == State::Gone);
        assert_eq!(ear.count(Count::Expired), 1);
        let mut publisher = engine.start(&place);
        publisher.store(0, 4);
        ear.comes_to(4);
        until("live", || ear.rank.state() == State::Live);
    }
}

#[test]
fn a_publisher_that_connects() {
    for engine in engines() {
        let mut place = Place::new();
        place.source.bind = true;
        let ear = Ear::new(&place);
        for said in [2, 4] {
            let mut publisher = engine.start(&place);
            (0..said).for_each(|block| publisher.store(block, block + 1));
            ear.comes_to(said);
        }
    }
}

#[test]
fn topics_are_told_apart() {
    for engine in engines() {
        let mut place = Place::new();
        // What is asked for again has no topic in one of the versions.
        place.source.replay = None;
        let mut publisher = engine.start(&place);
        let ears = ["kv-", "", "other"].map(|topic| {
            let mut place = place.clone();
            place.source.topic = topic.to_owned();
            Ear::new(&place)
        });
        until("connected", || ears.iter().all(|ear| ear.rank.state() == State::AtLeast));
        // The subscriptions may still be on their way.
        until("heard", || {
            publisher.store(0, 1);
            ears[..2].iter().all(|ear| ear.depth() == 1)
        });
        assert_eq!(ears[2].count(Count::Batches), 0);
    }
}
