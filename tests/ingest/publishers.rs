//! Mock engines run in processes of their own, are killed and restarted, and drop batches. In the end, every answer
//! agrees with what the engines themselves hold.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, fs};

use fastrand::Rng;
use kvleap::service::ingest::{Settings, Source};
use kvleap::service::mock_publisher::EngineState;
use kvleap::service::publisher::{Count, State};
use kvleap::service::{Ingest, Publisher};
use kvleap::{Matches, Worker};
use serde_json::{Value, json};

use crate::common::engine::{Process, free_ports};
use crate::common::judge::Judge;
use crate::common::model::model;
use crate::common::scratch::Scratch;
use crate::common::until::until;

const ENGINES: u64 = 10;
const RANKS: u16 = 2;
const BLOCK_SIZE: u32 = 16;

/// Returns how long engines are killed and restarted: `KVLEAP_CHAOS_SECONDS`, or a few seconds.
pub(crate) fn chaos() -> Duration {
    let seconds = env::var("KVLEAP_CHAOS_SECONDS").ok().map(|text| text.parse().expect("a number of seconds"));
    Duration::from_secs(seconds.unwrap_or(6))
}

/// A mock engine that can be killed and started again.
struct Engine {
    instance: u64,
    source: Source,
    state: String,
    process: Process,
}

impl Engine {
    fn new(instance: u64, scratch: &Scratch) -> Self {
        let endpoint = || format!("tcp://127.0.0.1:{}", free_ports(RANKS));
        let source = Source { endpoint: endpoint(), replay: Some(endpoint()), ..Source::default() };
        let state = scratch.path(&format!("{instance}.json"));
        let process = start(instance, &source, &state);
        Self { instance, source, state, process }
    }

    fn restart(&mut self) {
        self.process.child.kill().expect("it runs");
        self.process.child.wait().expect("it was killed");
        self.process = start(self.instance, &self.source, &self.state);
    }

    /// Makes the engine stop serving requests, and returns what it holds.
    fn pause(&mut self) -> EngineState {
        self.process.tell("pause");
        assert_eq!(self.process.line(), "paused");
        serde_json::from_slice(&fs::read(&self.state).expect("the state")).expect("a state in JSON")
    }
}

fn start(instance: u64, source: &Source, state: &str) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kvleap"));
    command.args(["publish", "--drop", "0.05", "--rate", "4", "--blocks", "400", "--ranks", &RANKS.to_string()]);
    command.args(["--form", if instance.is_multiple_of(2) { "map" } else { "array" }, "--topic", "kv-events"]);
    command.args(["--seed", &instance.to_string(), "--block-size", &BLOCK_SIZE.to_string(), "--state", state]);
    command.args(["--endpoint", &source.endpoint, "--replay-endpoint", source.replay.as_deref().expect("it has one")]);
    let mut process = Process::start(&mut command);
    assert_eq!(process.line(), "ready");
    process
}

/// All engines of a test.
struct Fleet {
    engines: Vec<Engine>,
    _scratch: Scratch,
}

impl Fleet {
    fn start(test: &str) -> Self {
        let scratch = Scratch::new(test);
        Self { engines: (0..ENGINES).map(|instance| Engine::new(instance, &scratch)).collect(), _scratch: scratch }
    }

    /// Returns every rank of every engine, and the endpoints where it publishes.
    fn ranks(&self) -> impl Iterator<Item = (Worker, Source)> {
        self.engines.iter().flat_map(|engine| {
            (0..RANKS).map(|number| {
                let source = engine.source.of_rank(number).expect("a port");
                (Worker::new(engine.instance, number.into()), source)
            })
        })
    }

    /// Kills random engines and starts them again, until the time is up.
    fn rage(&mut self) {
        let mut random = Rng::with_seed(1);
        let begun = Instant::now();
        while begun.elapsed() < chaos() {
            self.engines[random.usize(..ENGINES as usize)].restart();
            std::thread::sleep(Duration::from_millis(random.u64(..500)));
        }
    }

    /// Pauses all engines, and waits until `is_known` says of every worker that its last batch has arrived.
    fn settle(&mut self, is_known: impl Fn(Worker, Option<u64>) -> bool) -> Judge {
        let mut judge = Judge::default();
        for engine in &mut self.engines {
            let state = engine.pause();
            for (number, rank) in (0..).zip(&state.ranks) {
                let worker = Worker::new(engine.instance, number);
                let what = format!("all {} batches of {worker} are known", rank.batches);
                until(&what, || is_known(worker, rank.batches.checked_sub(1)));
            }
            judge.add(engine.instance, &state);
        }
        judge
    }
}

#[test]
fn answers_are_exact_after_engines_were_killed_at_random() {
    let mut fleet = Fleet::start("chaos");
    let settings = Settings { probe: Duration::from_millis(500), ..Settings::default() };
    let ingest = Ingest::start(settings).expect("threads");
    let model = model(BLOCK_SIZE);
    let mut publishers = BTreeMap::new();
    let mut listeners = Vec::new();
    for (worker, source) in fleet.ranks() {
        let publisher = Arc::new(Publisher::zmq(worker, &source.endpoint));
        listeners.push(ingest.listen(source, Arc::clone(&model), Arc::clone(&publisher), None));
        publishers.insert(worker, publisher);
    }
    fleet.rage();
    let judge = fleet.settle(|worker, last| {
        let publisher = &publishers[&worker];
        publisher.last_sequence() == last && publisher.state() == State::Live
    });

    model.index().flush().expect("the index is there");
    let mut matches = Matches::new();
    let queries = judge.queries();
    assert!(queries.len() > 20, "only {} queries", queries.len());
    for query in &queries {
        model.index().find(query, &mut matches);
        let found: BTreeMap<_, _> = matches.iter().collect();
        assert_eq!(found, judge.depths(query));
    }
    let count = |what| publishers.values().map(|publisher| publisher.count(what)).sum::<u64>();
    assert_eq!(count(Count::Lost), 0, "every missing batch was replayed");
    // The test exercised what it is for.
    assert!(count(Count::Restarts) > 0 && count(Count::Gaps) > 0 && count(Count::Replayed) > 0, "{publishers:?}");
}

/// Starts `kvleap serve` in a process of its own, and returns it with its address.
fn serve() -> (Process, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kvleap"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--log", "json"]).stderr(Stdio::piped());
    let mut process = Process::start(&mut command);
    let mut log = BufReader::new(process.child.stderr.take().expect("it is piped")).lines();
    let url = log.by_ref().find_map(|line| {
        let entry: Value = serde_json::from_str(&line.expect("UTF-8")).expect("one JSON object per line");
        let address = entry["fields"]["address"].as_str().filter(|_| entry["fields"]["message"] == "listening");
        address.map(|address| format!("http://{address}"))
    });
    // Read the log to its end, because a process that writes to a full pipe blocks.
    std::thread::spawn(move || log.for_each(drop));
    (process, url.expect("it listens"))
}

#[test]
fn answers_over_http_are_exact_after_engines_were_killed_at_random() {
    let mut fleet = Fleet::start("http");
    let (_server, url) = serve();
    let post = |path: &str, body: &Value| -> Value {
        let request = ureq::post(format!("{url}{path}")).header("content-type", "application/json");
        let answer = request.send(body.to_string().as_bytes()).expect("it answers");
        serde_json::from_str(&answer.into_body().read_to_string().expect("text")).expect("JSON")
    };
    for (Worker { id, dp_rank }, Source { endpoint, replay, .. }) in fleet.ranks() {
        post(
            "/register",
            &json!({"instance_id": id, "dp_rank": dp_rank, "model_name": "mock",
            "block_size": BLOCK_SIZE, "endpoint": endpoint, "replay_endpoint": replay}),
        );
    }
    fleet.rage();
    let judge = fleet.settle(|worker, last| {
        let workers = ureq::get(format!("{url}/workers")).call().expect("it answers");
        let workers: Value = serde_json::from_str(&workers.into_body().read_to_string().expect("text")).expect("JSON");
        let of = workers.as_array().expect("a list").iter().find(|of| of["instance_id"] == worker.id);
        let listener = &of.expect("it is registered")["listeners"][worker.dp_rank.to_string()];
        listener["last_sequence"].as_u64() == last && listener["status"] == "live"
    });

    let queries = judge.queries();
    assert!(queries.len() > 20, "only {} queries", queries.len());
    for query in &queries {
        let answer = post("/query_by_hash", &json!({"model_name": "mock", "block_hashes": query}));
        let mut found = BTreeMap::new();
        for (id, ranks) in answer["scores"].as_object().expect("scores") {
            for (rank, tokens) in ranks.as_object().expect("by rank") {
                let worker = Worker::new(id.parse().expect("a number"), rank.parse().expect("a number"));
                found.insert(worker, tokens.as_u64().expect("a number") as u32 / BLOCK_SIZE);
            }
        }
        assert_eq!(found, judge.depths(query));
    }
}
