//! Mock engines in processes of their own, which are killed, begin anew, and leave batches unsaid: in the end every
//! answer is what the engines themselves hold.

#[path = "common/engine.rs"]
mod engine;
#[path = "common/judge.rs"]
mod judge;
#[path = "common/model.rs"]
mod model;
#[path = "common/scratch.rs"]
mod scratch;

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, fs};

use engine::{Process, free_ports, until};
use fastrand::Rng;
use judge::Judge;
use kvleap::service::ingest::{Settings, Source};
use kvleap::service::publish::EngineState;
use kvleap::service::rank::{Count, State};
use kvleap::service::{Ingest, Rank};
use kvleap::{Matches, Worker};
use model::model;
use scratch::Scratch;

const ENGINES: u64 = 10;
const RANKS: u16 = 2;
const BLOCK_SIZE: u32 = 16;

/// How long there is chaos: `KVLEAP_CHAOS_SECONDS`, or a few seconds.
fn chaos() -> Duration {
    let seconds = env::var("KVLEAP_CHAOS_SECONDS").ok().map(|text| text.parse().expect("a number of seconds"));
    Duration::from_secs(seconds.unwrap_or(6))
}

/// A mock engine that is started again and again.
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

    /// What it holds, once it serves no more requests.
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

#[test]
fn chaos_ends_in_the_right_answers() {
    let scratch = Scratch::new("chaos");
    let mut engines: Vec<_> = (0..ENGINES).map(|instance| Engine::new(instance, &scratch)).collect();
    let settings = Settings { probe: Duration::from_millis(500), ..Settings::default() };
    let ingest = Ingest::start(settings).expect("threads");
    let model = model(BLOCK_SIZE);
    let mut ranks = BTreeMap::new();
    let mut listeners = Vec::new();
    for engine in &engines {
        for number in 0..RANKS {
            let source = engine.source.of_rank(number).expect("a port");
            let rank = Arc::new(Rank::zmq(Worker::new(engine.instance, number.into()), &source.endpoint));
            listeners.push(ingest.listen(source, Arc::clone(&model), Arc::clone(&rank), None));
            ranks.insert(rank.worker(), rank);
        }
    }

    let mut random = Rng::with_seed(1);
    let begun = Instant::now();
    while begun.elapsed() < chaos() {
        engines[random.usize(..ENGINES as usize)].restart();
        std::thread::sleep(Duration::from_millis(random.u64(..500)));
    }

    let mut judge = Judge::default();
    for engine in &mut engines {
        let state = engine.pause();
        for (number, rank) in (0..).zip(&state.ranks) {
            let known = &ranks[&Worker::new(engine.instance, number)];
            until(&format!("{} batches, but {known:?}", rank.batches), || {
                known.last_sequence() == rank.batches.checked_sub(1) && known.state() != State::Replaying
            });
        }
        judge.add(engine.instance, &state);
    }
    model.index().flush().expect("the index is there");

    let mut matches = Matches::new();
    let queries = judge.queries();
    assert!(queries.len() > 20, "only {} queries", queries.len());
    for query in &queries {
        model.index().find(query, &mut matches);
        let found: BTreeMap<_, _> = matches.iter().collect();
        assert_eq!(found, judge.depths(query));
    }
    let count = |what| ranks.values().map(|rank| rank.count(what)).sum::<u64>();
    assert!(ranks.values().all(|rank| rank.state() == State::Live), "{ranks:?}");
    assert_eq!(count(Count::Lost), 0, "everything could be asked for");
    // It was not for nothing.
    assert!(count(Count::Restarts) > 0 && count(Count::Gaps) > 0 && count(Count::Replayed) > 0);
}
