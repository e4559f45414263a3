//! The publishers of real engines, in two generations. Answers are right after stores, removals, clears, replays and
//! restarts.

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

/// What it takes to start the publisher of one release.
struct Engine {
    python: PathBuf,
    script: PathBuf,
    wheel: PathBuf,
}

/// Returns the two releases. One has positional events and replays without a topic, the other tagged events and replays
/// with one.
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

/// A running engine's publisher.
struct EngineProcess {
    process: Process,
    sent: usize,
}

/// Where an engine publishes, and how many batches it keeps for replays.
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
        // The publisher binds to an endpoint with a wildcard, and connects to any other.
        let wildcard = |endpoint: &str| endpoint.replace("127.0.0.1", "*");
        let endpoint = if place.source.bind { place.source.endpoint.clone() } else { wildcard(&place.source.endpoint) };
        command.arg(&self.script).arg(&self.wheel).args(["--endpoint", &endpoint, "--topic", place.topic]);
        command.args(["--buffer-steps", &place.buffer_steps.to_string()]);
        if let Some(replay) = &place.source.replay {
            command.args(["--replay", &wildcard(replay)]);
        }
        let mut process = Process::start(&mut command);
        assert_eq!(process.line(), "READY");
        EngineProcess { process, sent: 0 }
    }
}

impl EngineProcess {
    fn publish(&mut self, events: &Value) {
        self.process.tell(&events.to_string());
        self.sent += 1;
        assert_eq!(self.process.line(), format!("sent {}", self.sent));
    }

    /// Stores the blocks `from..to` of the only sequence. Their hashes are their numbers, counted from 1.
    fn store(&mut self, from: u32, to: u32) {
        let hashes: Vec<u32> = (from + 1..=to).collect();
        let parent = (from > 0).then_some(from);
        self.publish(&json!([{"type": "BlockStored", "block_hashes": hashes, "parent_block_hash": parent,
            "token_ids": tokens(from, to), "block_size": 4, "medium": "GPU"}]));
    }

    fn remove(&mut self, block: u32) {
        self.publish(&json!([{"type": "BlockRemoved", "block_hashes": [block + 1], "medium": "GPU"}]));
    }

    fn clear(&mut self) {
        self.publish(&json!([{"type": "AllBlocksCleared"}]));
    }
}

fn tokens(from: u32, to: u32) -> Vec<u32> {
    (from * 4..to * 4).collect()
}

/// A listener to an engine, with the model that it feeds.
struct Follower {
    ingest: Ingest,
    model: Arc<Model>,
    publisher: Arc<Publisher>,
    listener: Option<Listener>,
    place: Place,
}

impl Follower {
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
        let publisher = Arc::new(Publisher::zmq(WORKER, &place.source.endpoint));
        let mut follower = Self { ingest, model: model(4), publisher, listener: None, place: place.clone() };
        follower.listen(None);
        follower
    }

    fn listen(&mut self, resume: Option<Resume>) {
        let (model, publisher) = (Arc::clone(&self.model), Arc::clone(&self.publisher));
        self.listener = Some(self.ingest.listen(self.place.source.clone(), model, publisher, resume));
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
        until(&format!("{depth} blocks match"), || self.depth() == depth);
    }

    fn count(&self, what: Count) -> u64 {
        self.publisher.count(what)
    }

    /// Waits until this many batches were handed over. What is in them may be visible a moment before that.
    fn has_handed_over(&self, batches: u64) {
        until(&format!("{batches} batches are handed over"), || self.count(Count::Batches) == batches);
    }
}

/// Waits until the engine has sent this many batches. It queues them, so a listener that starts too early would still
/// receive the last of them live.
fn has_sent(place: &Place, batches: u64) {
    let scout = Follower::new(place);
    until("the last batch has arrived", || scout.publisher.last_sequence() == batches.checked_sub(1));
}

#[test]
fn stores_removals_and_clears_are_followed() {
    for engine in engines() {
        let place = Place::new();
        // The listener starts before the engine does.
        let follower = Follower::new(&place);
        let mut process = engine.start(&place);
        process.store(0, 3);
        follower.comes_to(3);
        process.store(3, 5);
        follower.comes_to(5);
        process.remove(4);
        process.remove(1);
        follower.comes_to(1);
        process.store(1, 2);
        follower.comes_to(4);
        process.clear();
        follower.comes_to(0);
        assert_eq!(follower.publisher.state(), State::Live);
        follower.has_handed_over(6);
        assert_eq!(follower.publisher.last_sequence(), Some(5));
        assert!(follower.publisher.last_seen().is_some() && follower.publisher.lag() < Duration::from_secs(60));
    }
}

#[test]
fn missed_batches_are_replayed() {
    for engine in engines() {
        let place = Place::new();
        let mut process = engine.start(&place);
        (0..20).for_each(|block| process.store(block, block + 1));
        has_sent(&place, 20);
        let mut follower = Follower::new(&place);
        follower.comes_to(20);
        assert_eq!(follower.count(Count::Replayed), 20);
        // The engine continues while nobody listens, as it does while the service restarts.
        follower.stop();
        let resume = follower.publisher.checkpoint();
        assert_eq!(resume.position.next_sequence, 20);
        (20..40).for_each(|block| process.store(block, block + 1));
        follower.listen(Some(resume));
        follower.comes_to(40);
        process.store(40, 41);
        follower.comes_to(41);
        follower.has_handed_over(41);
        assert_eq!(follower.count(Count::Lost), 0);
        until("it is exact", || !follower.publisher.is_doubtful());
    }
}

#[test]
fn batches_that_replay_no_longer_has_raise_a_doubt_until_the_next_clear() {
    for engine in engines() {
        let place = Place { buffer_steps: 2, ..Place::new() };
        let mut process = engine.start(&place);
        (0..5).for_each(|block| process.store(block, block + 1));
        has_sent(&place, 5);
        let follower = Follower::new(&place);
        // Blocks stored in the lost batches may still be held, and those removed in them were never known here.
        until("there is a doubt", || follower.publisher.state() == State::AtLeast);
        until("the fifth batch has arrived", || follower.publisher.last_sequence() == Some(4));
        assert_eq!((follower.depth(), follower.count(Count::Lost), follower.count(Count::Replayed)), (0, 3, 2));
        process.clear();
        until("the clear ends the doubt", || !follower.publisher.is_doubtful());
        process.store(0, 2);
        follower.comes_to(2);
    }
}

#[test]
fn restarts_of_a_publisher_are_noticed() {
    for engine in engines() {
        let place = Place::new();
        // The grace period is long, because on a busy machine an engine may take seconds to start.
        let follower = Follower::patient(&place, Duration::from_secs(60));
        for (life, stored) in [(0, 3), (1, 1), (2, 5)] {
            let mut process = engine.start(&place);
            (0..stored).for_each(|block| process.store(block, block + 1));
            follower.comes_to(stored);
            until("the restart is noticed", || follower.count(Count::Restarts) == life);
            until("it is exact", || !follower.publisher.is_doubtful());
        }
        drop(follower);
        // After the grace period, nothing is left of an engine that does not come back.
        let mut process = engine.start(&place);
        process.store(0, 5);
        let follower = Follower::new(&place);
        follower.comes_to(5);
        drop(process);
        follower.comes_to(0);
        until("it is gone", || follower.publisher.state() == State::Gone);
        assert_eq!(follower.count(Count::Expired), 1);
        let mut process = engine.start(&place);
        process.store(0, 4);
        follower.comes_to(4);
        until("it is live", || follower.publisher.state() == State::Live);
    }
}

#[test]
fn a_publisher_that_connects_is_followed_over_restarts() {
    for engine in engines() {
        let mut place = Place::new();
        place.source.bind = true;
        let follower = Follower::new(&place);
        for stored in [2, 4] {
            let mut process = engine.start(&place);
            (0..stored).for_each(|block| process.store(block, block + 1));
            follower.comes_to(stored);
        }
    }
}

#[test]
fn a_listener_receives_only_its_topic() {
    for engine in engines() {
        let mut place = Place::new();
        // Replayed batches have no topic in one of the releases.
        place.source.replay = None;
        let mut process = engine.start(&place);
        let followers = ["kv-", "", "other"].map(|topic| {
            let mut place = place.clone();
            place.source.topic = topic.to_owned();
            Follower::new(&place)
        });
        until("all listeners are connected", || {
            followers.iter().all(|follower| follower.publisher.state() == State::AtLeast)
        });
        // Send again until a batch arrives, because the subscriptions may not have reached the publisher yet.
        until("a batch arrives", || {
            process.store(0, 1);
            followers[..2].iter().all(|follower| follower.depth() == 1)
        });
        assert_eq!(followers[2].count(Count::Batches), 0);
    }
}
