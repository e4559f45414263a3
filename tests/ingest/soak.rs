//! Hostile and ordinary publishers and clients at once, for as long as `KVLEAP_CHAOS_SECONDS` says or for a few seconds.
//! In the end threads, files and memory are where they were, and every answer was right or marked.
#![allow(clippy::print_stdout, reason = "the figures are for whoever runs it by hand, with --nocapture")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use fastrand::Rng;
use kvleap::Worker;
use kvleap::service::mock_publisher::EngineState;
use serde_json::{Value, json};

use crate::common::engine::{Process, free_ports};
use crate::common::engine_events::{batch, stored};
use crate::common::judge::Judge;
use crate::common::scratch::Scratch;
use crate::common::until::until;
use crate::common::zmtp::{self, Subscriber};
use crate::publishers::chaos;

const ENGINES: u64 = 4;
const BLOCK_SIZE: u32 = 16;

/// A service in a process of its own.
struct Service {
    process: Process,
    address: String,
    agent: ureq::Agent,
}

/// What a process occupies.
#[derive(Debug)]
struct Occupied {
    threads: usize,
    files: usize,
    resident_mib: u64,
}

impl Service {
    fn start() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kvleap"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--log", "json", "--grace-seconds", "2"]);
        command.args(["--memory-budget", "67108864", "--max-models", "32"]).stderr(Stdio::piped());
        let mut process = Process::start(&mut command);
        let mut log = BufReader::new(process.child.stderr.take().expect("it is piped")).lines();
        let address = log.by_ref().find_map(|line| {
            let entry: Value = serde_json::from_str(&line.expect("UTF-8")).expect("one JSON object per line");
            let address = entry["fields"]["address"].as_str().filter(|_| entry["fields"]["message"] == "listening");
            address.map(str::to_owned)
        });
        thread::spawn(move || {
            let lines = log.map_while(Result::ok).count();
            println!("the service logged {lines} lines");
        });
        let config = ureq::Agent::config_builder().http_status_as_error(false);
        let agent = config.timeout_global(Some(Duration::from_secs(30))).build().into();
        Self { process, address: address.expect("it listens"), agent }
    }

    fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let request = self.agent.post(format!("http://{}{path}", self.address));
        let answer = request.header("content-type", "application/json").send(body.to_string().as_bytes());
        let mut answer = answer.expect("it answers");
        let text = answer.body_mut().read_to_string().expect("text");
        (answer.status().as_u16(), serde_json::from_str(&text).unwrap_or_default())
    }

    fn get(&self, path: &str) -> Value {
        let mut answer = self.agent.get(format!("http://{}{path}", self.address)).call().expect("it answers");
        serde_json::from_str(&answer.body_mut().read_to_string().expect("text")).expect("JSON")
    }

    fn register(&self, instance: u64, model: &str, endpoint: &str, replay: Option<&str>) -> u16 {
        let engine = json!({"instance_id": instance, "model_name": model, "block_size": BLOCK_SIZE,
            "endpoint": endpoint, "replay_endpoint": replay});
        self.post("/register", &engine).0
    }

    fn occupied(&self) -> Occupied {
        let home = format!("/proc/{}", self.process.child.id());
        let count = |what: &str| fs::read_dir(format!("{home}/{what}")).expect("it runs").count();
        let status = fs::read_to_string(format!("{home}/status")).expect("it runs");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
        let kib: u64 = resident.trim().trim_end_matches(" kB").parse().expect("a number");
        Occupied { threads: count("task"), files: count("fd"), resident_mib: kib >> 10 }
    }
}

/// An ordinary engine of one rank, which can be killed and started again.
struct Engine {
    instance: u64,
    ports: u16,
    state: String,
    process: Process,
}

impl Engine {
    fn new(instance: u64, scratch: &Scratch) -> Self {
        let (ports, state) = (free_ports(2), scratch.path(&format!("{instance}.json")));
        Self { instance, ports, process: Self::start(instance, ports, &state), state }
    }

    fn endpoints(ports: u16) -> [String; 2] {
        [ports, ports + 1].map(|port| format!("tcp://127.0.0.1:{port}"))
    }

    fn start(instance: u64, ports: u16, state: &str) -> Process {
        let [endpoint, replay] = Self::endpoints(ports);
        let mut command = Command::new(env!("CARGO_BIN_EXE_kvleap"));
        command.args(["publish", "--drop", "0.02", "--rate", "5", "--blocks", "400", "--state", state]);
        command.args(["--seed", &instance.to_string(), "--endpoint", &endpoint, "--replay-endpoint", &replay]);
        let mut process = Process::start(&mut command);
        assert_eq!(process.line(), "ready");
        process
    }

    fn restart(&mut self) {
        self.process.child.kill().expect("it runs");
        self.process.child.wait().expect("it was killed");
        self.process = Self::start(self.instance, self.ports, &self.state);
    }

    fn pause(&mut self) -> EngineState {
        self.process.tell("pause");
        assert_eq!(self.process.line(), "paused");
        serde_json::from_slice(&fs::read(&self.state).expect("the state")).expect("a state in JSON")
    }
}

/// What a hostile publisher does to its subscriber, until the subscriber closes the connection.
type Hostility = fn(&mut Subscriber, &mut Rng) -> io::Result<()>;

const HOSTILITIES: [(&str, Hostility); 8] = [
    ("absurd size", |victim, _| {
        victim.raw(&[&[2][..], &(u64::MAX >> 1).to_be_bytes()].concat());
        wait(victim)
    }),
    ("half a message", |victim, random| {
        victim.raw(&[&[2][..], &(16_u64 << 20).to_be_bytes(), &vec![0; random.usize(..8 << 20)]].concat());
        wait(victim)
    }),
    ("endless frames", |victim, _| {
        loop {
            victim.try_raw(&[1, 1, b'x'].repeat(1000))?;
        }
    }),
    ("garbage", |victim, random| {
        (0_u64..).try_for_each(|sequence| {
            let garbage: Vec<u8> = (0..random.usize(..2000)).map(|_| random.u8(..)).collect();
            victim.try_message(&[b"", &sequence.to_be_bytes(), &garbage])
        })
    }),
    ("unknown parents", |victim, random| {
        (0_u64..).try_for_each(|sequence| {
            let hashes: Vec<u64> = (0..64).map(|_| random.u64(..)).collect();
            let tokens: Vec<u32> = (0..64 * BLOCK_SIZE).collect();
            let events = [stored(&hashes, Some(random.u64(..)), &tokens, json!({"block_size": BLOCK_SIZE}))];
            victim.try_message(&[b"", &sequence.to_be_bytes(), &batch(&events, None)])
        })
    }),
    ("endless blocks", |victim, random| {
        (0_u64..).try_for_each(|sequence| {
            let hashes: Vec<u64> = (0..256).map(|_| random.u64(..)).collect();
            let tokens: Vec<u32> = (0..256 * BLOCK_SIZE).map(|_| random.u32(..)).collect();
            let events = [stored(&hashes, None, &tokens, json!({"block_size": BLOCK_SIZE}))];
            victim.try_message(&[b"", &sequence.to_be_bytes(), &batch(&events, None)])
        })
    }),
    ("flapping numbers", |victim, random| {
        loop {
            victim.try_message(&[b"", &random.u64(..5).to_be_bytes(), &batch(&[], None)])?;
        }
    }),
    ("endless ranks", |victim, random| {
        (0_u64..).try_for_each(|sequence| {
            let events =
                [stored(&[random.u64(..)], None, &[7; BLOCK_SIZE as usize], json!({"block_size": BLOCK_SIZE}))];
            victim.try_message(&[b"", &sequence.to_be_bytes(), &batch(&events, Some(random.u32(..1 << 28)))])
        })
    }),
];

/// Lets this thread have what the service leaves of the processors: hostile peers run on other machines.
fn elsewhere() {
    #[cfg(target_os = "linux")]
    rustix::process::nice(19).expect("a thread may give way");
}

/// Returns the model of a hostile publisher: some share the one of the ordinary engines.
fn model_of(number: usize) -> String {
    if number < 4 { "mock".to_owned() } else { format!("hostile {}", HOSTILITIES[number].0) }
}

/// Waits until the subscriber closes the connection.
fn wait(victim: &mut Subscriber) -> io::Result<()> {
    victim.read_to_end()
}

/// What hostile clients do, again and again.
fn hostile_client(service: &Service, number: usize, random: &mut Rng) {
    let connect = || TcpStream::connect(&service.address);
    match number {
        // Clients that ask for a lot and read nothing.
        0 | 1 => {
            let path = if number == 0 { "/page.js" } else { "/dump" };
            let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").repeat(50);
            let open: Vec<_> = (0..40).filter_map(|_| connect().ok()).collect();
            for mut stream in &open {
                let _ = stream.set_write_timeout(Some(Duration::from_millis(100)));
                let _ = stream.write_all(request.as_bytes());
            }
            sleep(Duration::from_secs(2));
        }
        // One that names many workers for a policy that is slow with many.
        2 => {
            let workers: Vec<_> = (0..2000).map(|id| json!([id, 0])).collect();
            let route = json!({"policy": "session-affinity", "session": random.u64(..1 << 50)});
            let body = json!({"model_name": "mock", "block_hashes": [1, 2], "workers": workers, "route": route});
            service.post("/v1/match", &body);
        }
        // One that speaks for many workers of ever new models.
        3 => {
            let event = |id| {
                json!({"worker_id": id, "event": {"event_id": 1, "data": {"stored": {"parent_hash": null,
                "blocks": [{"block_hash": id, "tokens_hash": id}]}}}})
            };
            let events: Vec<_> = (0..300).map(event).collect();
            let model = format!("m{}", random.u32(..));
            service.post("/events", &json!({"model_name": model, "block_size": 16, "events": events}));
            for id in 0..300 {
                service.post("/unregister", &json!({"model_name": model, "instance_id": id}));
            }
        }
        // One that registers engines that do not exist, and takes them back.
        _ => {
            let model = format!("n{}", random.u32(..));
            for id in 0..10 {
                service.register(id, &model, "tcp://127.0.0.1:1", Some("tcp://no-such-name.invalid:1"));
            }
            for id in 0..10 {
                service.post("/unregister", &json!({"model_name": model, "instance_id": id}));
            }
        }
    }
}

/// Asks again and again, and returns the times that answers took, sorted.
fn asked(service: &Service, seconds: Duration, done: &AtomicBool) -> Vec<Duration> {
    let mut times = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < seconds && !done.load(Relaxed) {
        let asked = Instant::now();
        let (status, _) = service.post("/query_by_hash", &json!({"model_name": "mock", "block_hashes": [1, 2, 3]}));
        assert_eq!(status, 200);
        times.push(asked.elapsed());
        sleep(Duration::from_millis(5));
    }
    times.sort_unstable();
    times
}

fn percentile(times: &[Duration], thousandths: usize) -> Duration {
    times[(times.len() - 1) * thousandths / 1000]
}

/// Pauses all engines, waits until their last batches are known, and asserts that every answer is right or marked.
/// Returns how many ranks were exact.
fn judge(service: &Service, engines: &mut [Engine]) -> usize {
    let mut judge = Judge::default();
    for engine in engines.iter_mut() {
        let state = engine.pause();
        let last = state.ranks[0].batches.checked_sub(1);
        until("the last batch of an engine is known, or it is marked", || {
            let workers = service.get("/workers?model_name=mock");
            let of = workers.as_array().expect("a list").iter().find(|of| of["instance_id"] == engine.instance);
            let listener = of.expect("it is registered")["listeners"]["0"].clone();
            listener["last_sequence"].as_u64() == last && listener["status"] != "replaying"
        });
        judge.add(engine.instance, &state);
    }
    let queries = judge.queries();
    assert!(!queries.is_empty());
    let mut inexact = BTreeSet::new();
    for query in &queries {
        let (_, answer) = service.post("/query_by_hash", &json!({"model_name": "mock", "block_hashes": query}));
        let depths = judge.depths(query);
        for engine in engines.iter() {
            let id = engine.instance.to_string();
            let found = answer["scores"][&id]["0"].as_u64().unwrap_or(0) / u64::from(BLOCK_SIZE);
            let held = depths.get(&Worker::new(engine.instance, 0)).copied().unwrap_or(0).into();
            match answer["exactness"][&id]["0"]["exactness"].as_str() {
                None => assert_eq!(found, held, "instance {id}, {query:?}"),
                Some("at_least") => assert!(found <= held, "instance {id}, {query:?}"),
                Some(_) => {}
            }
            if !answer["exactness"][&id].is_null() {
                inexact.insert(engine.instance);
            }
        }
    }
    engines.len() - inexact.len()
}

#[test]
fn the_service_outlives_hostile_and_ordinary_peers() {
    let scratch = Scratch::new("soak");
    let service = Service::start();
    let mut engines: Vec<_> = (1..=ENGINES).map(|instance| Engine::new(instance, &scratch)).collect();
    for engine in &engines {
        let [endpoint, replay] = Engine::endpoints(engine.ports);
        assert_eq!(service.register(engine.instance, "mock", &endpoint, Some(&replay)), 201);
    }
    let done = Arc::new(AtomicBool::new(false));
    let over = AtomicBool::new(false);
    let quiet = thread::scope(|scope| {
        // The processors are as busy as they will be later, so that what is measured is the service.
        for _ in 0..HOSTILITIES.len() {
            scope.spawn(|| {
                elsewhere();
                while !over.load(Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let quiet = asked(&service, chaos().min(Duration::from_secs(30)) / 2, &done);
        over.store(true, Relaxed);
        quiet
    });
    let before = service.occupied();

    let met: Arc<[AtomicU64; HOSTILITIES.len()]> = Arc::default();
    for (number, (name, hostility)) in HOSTILITIES.into_iter().enumerate() {
        let publisher = zmtp::Publisher::bind();
        let model = model_of(number);
        assert_eq!(service.register(100 + number as u64, &model, &publisher.endpoint(), None), 201, "{name}");
        let (done, met) = (Arc::clone(&done), Arc::clone(&met));
        thread::spawn(move || {
            elsewhere();
            let mut random = Rng::with_seed(number as u64);
            while !done.load(Relaxed) {
                let mut victim = publisher.subscriber();
                met[number].fetch_add(1, Relaxed);
                let _ = hostility(&mut victim, &mut random);
            }
        });
    }
    let (loud, rounds, exact) = thread::scope(|scope| {
        for number in 0..5 {
            let (service, done) = (&service, &done);
            scope.spawn(move || {
                elsewhere();
                let mut random = Rng::with_seed(number as u64);
                while !done.load(Relaxed) {
                    hostile_client(service, number, &mut random);
                }
            });
        }
        let (service, asking) = (&service, &done);
        let asker = scope.spawn(move || asked(service, Duration::MAX, asking));
        let begun = Instant::now();
        let (mut rounds, mut exact) = (0, 0);
        let mut random = Rng::with_seed(1);
        loop {
            let round = Instant::now();
            while round.elapsed() < chaos().min(Duration::from_secs(20)) / 2 {
                engines[random.usize(..ENGINES as usize)].restart();
                sleep(Duration::from_millis(random.u64(100..2000)));
            }
            exact += judge(service, &mut engines);
            rounds += 1;
            println!("after {:?}: {:?}", begun.elapsed(), service.occupied());
            if begun.elapsed() >= chaos() {
                break;
            }
            engines.iter_mut().for_each(Engine::restart);
        }
        done.store(true, Relaxed);
        (asker.join().expect("all answers came"), rounds, exact)
    });
    let after = service.occupied();
    // Threads follow what there is, and not what is sent: a writer for each model, and those for requests that wait.
    assert!(after.threads < before.threads + 80, "{after:?}");
    println!("{rounds} rounds; {exact} of {} ranks were exact at their ends", rounds * ENGINES as usize);
    println!("before: {before:?}\nafter:  {after:?}");
    for (times, what) in [(&quiet, "quiet"), (&loud, "loud")] {
        let of = |thousandths| percentile(times, thousandths);
        println!("{what}: {} answers, p50 {:?}, p99 {:?}, max {:?}", times.len(), of(500), of(990), of(1000));
    }
    for ((name, _), times) in HOSTILITIES.iter().zip(&*met) {
        println!("{name}: {} connections", times.load(Relaxed));
        assert!(times.load(Relaxed) > 0, "{name}");
    }

    // Once the hostile ones have left, nothing of them is left.
    for number in 0..HOSTILITIES.len() {
        let body = json!({"model_name": model_of(number), "instance_id": 100 + number});
        assert_eq!(service.post("/unregister", &body).0, 200, "{body}");
    }
    let left = service.get("/workers");
    let left: BTreeSet<_> = left.as_array().expect("a list").iter().map(|of| of["model_name"].as_str()).collect();
    assert_eq!(left.into_iter().collect::<Vec<_>>(), [Some("mock")]);
    until("threads and files are back where they were", || {
        let now = service.occupied();
        now.threads <= before.threads + 2 && now.files <= before.files + 4
    });
    let end = service.occupied();
    println!("end:    {end:?}");
    // The budget, as much again for what is outside of it, and what an allocator keeps.
    assert!(end.resident_mib < before.resident_mib + 192, "{end:?}, and {before:?} before");
}
