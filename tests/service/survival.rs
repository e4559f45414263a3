//! `kvleap serve` with a snapshot is killed at any moment. The engines replay what it loses.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::iter;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use kvleap::Worker;
use serde_json::{Value, json};

use crate::common::engine::{Process, free_ports};
use crate::common::judge::Judge;
use crate::common::scratch::Scratch;
use crate::common::serve::{self, Serve};
use crate::common::until::until;

const ENGINES: u64 = 3;

/// What a service logs first.
const OPEN_FILES: &str = "open files: the limit, and what it allows";

/// Mock engines, and a configuration file that names them.
struct Fleet {
    scratch: Scratch,
    engines: Vec<Process>,
}

impl Fleet {
    fn start(test: &str) -> Self {
        let scratch = Scratch::new(test);
        let mut config = String::new();
        let engines = (1..=ENGINES).map(|instance| {
            let ports = free_ports(2);
            let [endpoint, replay] = [ports, ports + 1].map(|port| format!("tcp://127.0.0.1:{port}"));
            let written = writeln!(
                config,
                "[[engines]]\ninstance_id = {instance}\nendpoint = \"{endpoint}\"\nreplay_endpoint = \"{replay}\"\n\
                 model_name = \"mock\"\nblock_size = 16"
            );
            written.expect("memory");
            let mut command = Command::new(env!("CARGO_BIN_EXE_kvleap"));
            command.args(["publish", "--endpoint", &endpoint, "--replay-endpoint", &replay, "--rate", "10"]);
            command.args(["--blocks", "300", "--drop", "0.02", "--buffer-steps", "1000000"]);
            command.args(["--seed", &instance.to_string(), "--state", &scratch.path(&format!("engine-{instance}"))]);
            let mut process = Process::start(&mut command);
            assert_eq!(process.line(), "ready");
            process
        });
        let engines = engines.collect();
        scratch.file("serve.toml", config);
        Self { scratch, engines }
    }

    /// Starts a service. With `configured`, its configuration names the engines.
    fn serve(&self, configured: bool) -> Serve {
        let config = self.scratch.path("serve.toml");
        let more = if configured { &["--config", &config][..] } else { &[] };
        Serve::start(&self.scratch.path("snapshot"), more)
    }

    /// Pauses the engines, and returns what they hold and how many batches each has published.
    fn pause(&mut self) -> (Judge, BTreeMap<u64, u64>) {
        let mut judge = Judge::default();
        let mut batches = BTreeMap::new();
        for (instance, engine) in (1..).zip(&mut self.engines) {
            engine.tell("pause");
            assert_eq!(engine.line(), "paused");
            let state = fs::read(self.scratch.path(&format!("engine-{instance}"))).expect("it was written");
            let state = serde_json::from_slice(&state).expect("the state of an engine");
            judge.add(instance, &state);
            batches.insert(instance, state.ranks[0].batches);
        }
        (judge, batches)
    }
}

/// The requests that these tests send to a running service.
impl Serve {
    fn get(&self, path: &str) -> Value {
        let answer = ureq::get(format!("{}{path}", self.url)).call().expect("it answers");
        serde_json::from_str(&answer.into_body().read_to_string().expect("text")).expect("JSON")
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let request = ureq::post(format!("{}{path}", self.url)).header("content-type", "application/json");
        let answer = request.send(body.to_string()).expect("it answers");
        serde_json::from_str(&answer.into_body().read_to_string().expect("text")).expect("JSON")
    }

    /// Returns the last batch and the state of each publisher, by instance.
    fn publishers(&self) -> BTreeMap<u64, (Option<u64>, String)> {
        let status = self.get("/v1/status");
        let publishers = status["ranks"].as_array().expect("a list").iter().map(|publisher| {
            let instance = publisher["instance"].as_str().and_then(|name| name.parse().ok()).expect("a number as text");
            (instance, (publisher["sequence"].as_u64(), publisher["state"].as_str().expect("text").to_owned()))
        });
        publishers.collect()
    }

    /// Returns how many leading blocks of the query each worker holds.
    fn depths(&self, query: &[u64]) -> BTreeMap<Worker, u32> {
        let answer = self.post("/query_by_hash", &json!({"model_name": "mock", "block_hashes": query}));
        let scores = answer["scores"].as_object().expect("an object").iter().flat_map(|(instance, ranks)| {
            let id = instance.parse().expect("a number");
            ranks.as_object().expect("an object").iter().map(move |(rank, tokens)| {
                let worker = Worker::new(id, rank.parse().expect("a number"));
                (worker, tokens.as_u64().expect("a number") as u32 / 16)
            })
        });
        scores.collect()
    }
}

/// Asserts that all answers agree with what the engines hold.
fn agree(service: &Serve, judge: &Judge) {
    let queries = judge.queries();
    assert!(!queries.is_empty());
    for query in queries {
        assert_eq!(service.depths(&query), judge.depths(&query), "{query:?}");
    }
}

/// Returns whether every publisher is live and its last batch has arrived.
fn all_live(service: &Serve, batches: &BTreeMap<u64, u64>) -> bool {
    let expected = batches.iter().map(|(&instance, &batches)| (instance, (batches.checked_sub(1), "live".to_owned())));
    service.publishers() == expected.collect()
}

#[test]
fn a_service_killed_at_any_moment_loses_only_what_can_be_replayed() {
    let mut fleet = Fleet::start("killed");
    let mut random = fastrand::Rng::with_seed(8);
    let snapshot = fleet.scratch.path("snapshot");
    let mut warm = 0;
    for round in 0..12 {
        let before = Path::new(&snapshot).exists();
        let service = fleet.serve(true);
        warm += u32::from(before);
        // Kill it when it has saved a snapshot, while it is writing one, at once, or at a random time.
        match round % 4 {
            0 => drop(service.logged("saved a snapshot")),
            1 => until("the service writes a snapshot", || {
                fleet.scratch.names().iter().any(|name| name.ends_with(".partial"))
            }),
            2 => {}
            _ => thread::sleep(Duration::from_millis(random.u64(100..2500))),
        }
        service.kill();
    }
    assert_eq!(warm, 11, "only the first start had no snapshot");

    let service = fleet.serve(true);
    let lefts = fleet.scratch.names().iter().filter(|name| name.ends_with(".partial")).count();
    assert!(lefts < 2, "files that were not completed pile up");
    let (judge, batches) = fleet.pause();
    until("all batches are known", || all_live(&service, &batches));
    agree(&service, &judge);
    // A service does not ask again for what its snapshot has. The next snapshot may have begun before all was known.
    service.forget_log();
    service.logged("saved a snapshot");
    service.logged("saved a snapshot");
    service.kill();
    let service = fleet.serve(true);
    until("all batches are known", || all_live(&service, &batches));
    agree(&service, &judge);
    assert!(
        !service.get("/v1/status")["ranks"]
            .as_array()
            .expect("a list")
            .iter()
            .any(|publisher| publisher["blocks"] != 0)
    );
}

#[test]
fn engines_that_registered_themselves_are_known_after_a_restart() {
    let mut fleet = Fleet::start("registered");
    let config: toml::Table = fs::read_to_string(fleet.scratch.path("serve.toml")).unwrap().parse().expect("TOML");
    let service = fleet.serve(false);
    for engine in config["engines"].as_array().expect("a list") {
        let engine = serde_json::to_value(engine).expect("plain values");
        assert_eq!(service.post("/register", &engine)["status"], "ok");
    }
    until("30 batches of each engine are known", || {
        service.publishers().values().all(|(sequence, _)| *sequence > Some(30))
    });
    service.terminate();

    let service = fleet.serve(false);
    let (judge, batches) = fleet.pause();
    until("all batches are known", || all_live(&service, &batches));
    agree(&service, &judge);
}

#[test]
fn a_damaged_snapshot_is_put_aside() {
    let mut fleet = Fleet::start("aside");
    let damaged = b"kvleap\0I\x03\0\0\0and no more";
    fleet.scratch.file("snapshot", damaged);
    let mut command = Command::new(env!("CARGO_BIN_EXE_kvleap"));
    command.args(["serve", "--check-config", "--snapshot", &fleet.scratch.path("snapshot")]);
    assert!(command.status().expect("it runs").success(), "a damaged snapshot is no mistake in the settings");

    let (judge, batches) = fleet.pause();
    let scratch = &fleet.scratch;
    let [snapshot, config] = ["snapshot", "serve.toml"].map(|name| scratch.path(name));
    let mut command = serve::command(&["--snapshot", &snapshot, "--snapshot-seconds", "1", "--config", &config]);
    let mut child = command.spawn().expect("it runs");
    let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().expect("it runs").expect("UTF-8")).expect("JSON");
    // The share of open files is logged before.
    let refused = iter::repeat_with(&mut next).find(|line| line["fields"]["message"] != OPEN_FILES).expect("endless");
    assert_eq!(refused["fields"]["message"], "a cold start", "{refused}");
    assert!(refused["fields"]["error"].as_str().is_some_and(|text| text.contains("checksum")), "{refused}");
    while next()["fields"]["message"] != "saved a snapshot" {}
    child.kill().expect("it runs");
    child.wait().expect("it was killed");
    assert_eq!(fs::read(scratch.path("snapshot.refused.1")).expect("it is kept"), damaged);

    let service = fleet.serve(true);
    until("all batches are known", || all_live(&service, &batches));
    agree(&service, &judge);
}
