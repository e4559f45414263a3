//! The log of `kvleap serve`: it ends nothing when it cannot be written, nothing floods it, and no name forges a line.

use std::fs::{self, File};
use std::io::{self, PipeReader, PipeWriter, Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Child, Stdio};
use std::thread;

use serde_json::{Value, json};

use super::serve;
use crate::common::engine::free_ports;
use crate::common::scratch::Scratch;
use crate::common::until::until;
use crate::common::zmtp::Publisher;

/// What a pipe takes before its writer waits, unless somebody changed it.
const CAPACITY: usize = 1 << 16;

/// Returns a pipe whose writer waits until somebody reads.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = io::pipe().expect("a pipe");
    writer.write_all(&vec![b'\n'; CAPACITY]).expect("there is room");
    (reader, writer)
}

/// A service whose standard error is what a test wants.
struct Service {
    child: Child,
    url: String,
    scratch: Scratch,
}

impl Service {
    /// Starts a service, and waits until it answers.
    fn start(test: &str, more: &[&str], stderr: impl Into<Stdio>) -> Self {
        let scratch = Scratch::new(test);
        let address = format!("127.0.0.1:{}", free_ports(1));
        let snapshot = scratch.path("snapshot");
        let mut command =
            serve::command(&["--listen", &address, "--snapshot", &snapshot, "--snapshot-seconds", "3600"]);
        let child = command.args(more).stderr(stderr).spawn().expect("it runs");
        let service = Self { child, url: format!("http://{address}"), scratch };
        until("it answers", || ureq::get(format!("{}/health", service.url)).call().is_ok());
        service
    }

    fn post(&self, path: &str, body: &Value) -> u16 {
        let agent = ureq::Agent::new_with_config(ureq::Agent::config_builder().http_status_as_error(false).build());
        agent.post(format!("{}{path}", self.url)).send(body.to_string()).expect("it answers").status().as_u16()
    }

    fn register(&self, instance: u64, model: &str, endpoint: &str) {
        let engine = json!({"instance_id": instance, "model_name": model, "block_size": 4, "endpoint": endpoint});
        assert_eq!(self.post("/register", &engine), 201);
    }

    /// Returns the sum of all samples of this metric that have this text among their labels.
    fn metric(&self, name: &str, label: &str) -> u64 {
        let answer = ureq::get(format!("{}/metrics", self.url)).call().expect("it answers");
        let text = answer.into_body().read_to_string().expect("text");
        let lines = text.lines().filter(|line| line.starts_with(name) && line.contains(label));
        lines.map(|line| line.rsplit(' ').next().and_then(|value| value.parse::<u64>().ok()).expect("a count")).sum()
    }

    /// Returns one of the counters of its only publisher.
    fn counted(&self, what: &str) -> u64 {
        self.metric("kvleap_publisher_total", &format!("\"{what}\""))
    }

    fn lost_lines(&self) -> u64 {
        self.metric("kvleap_log_lines_lost_total", "")
    }

    /// Tells it to end. It must end well, and leave its last snapshot.
    fn terminate(mut self) {
        serve::terminate(&self.child);
        assert_eq!(self.child.wait().expect("it ends").code(), Some(0));
        assert!(fs::exists(self.scratch.path("snapshot")).expect("the folder is there"), "there is no last snapshot");
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Has a service log from its handlers, from its listeners and from its main thread. All of them must go on.
fn goes_on_with(test: &str, stderr: impl Into<Stdio>) -> Service {
    let service = Service::start(test, &[], stderr);
    let publisher = Publisher::bind();
    service.register(1, "m", &publisher.endpoint());
    let mut subscriber = publisher.subscriber();
    // Each batch that cannot be decoded is logged. If the first ended the listener, the second would not be counted.
    for sequence in 0..2 {
        subscriber.send(sequence, b"no batch");
        until("the batch is counted", || service.counted("batches_undecodable") == sequence + 1);
    }
    let unknown = json!({"worker_id": 7, "storage_tier": "nowhere", "event": {"event_id": 1, "data": {"removed": {"block_hashes": [1]}}}});
    let status = service.post("/events", &json!({"model_name": "n", "block_size": 4, "events": [unknown]}));
    assert!(status < 500, "{status}");
    service.register(2, "m", "tcp://127.0.0.1:1");
    service
}

#[test]
fn a_log_on_a_full_disk_ends_nothing() {
    let service = goes_on_with("full-disk", File::options().write(true).open("/dev/full").expect("Linux has it"));
    until("it says so", || service.lost_lines() > 0);
    service.terminate();
}

#[test]
fn a_log_whose_reader_is_gone_ends_nothing() {
    let (reader, writer) = io::pipe().expect("a pipe");
    drop(reader);
    let service = goes_on_with("no-reader", writer);
    until("it says so", || service.lost_lines() > 0);
    service.terminate();
}

#[test]
fn a_log_that_nobody_reads_ends_nothing() {
    let (reader, writer) = full_pipe();
    goes_on_with("full-pipe", writer).terminate();
    drop(reader);
}

#[test]
fn a_service_that_cannot_start_ends_although_nobody_reads_why() {
    let (reader, writer) = full_pipe();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    let mut child = serve::command(&["--listen", &address]).stderr(writer).spawn().expect("it runs");
    until("it ends", || child.try_wait().expect("it is a child").is_some());
    assert_eq!(child.wait().expect("it ended").code(), Some(2));
    drop(reader);
}

/// Returns what a service logs while a test does something with it, line by line.
fn logged(test: &str, format: &str, act: impl FnOnce(&Service)) -> Vec<String> {
    let (mut reader, writer) = io::pipe().expect("a pipe");
    let service = Service::start(test, &["--log", format], writer);
    let read = thread::spawn(move || {
        let mut log = String::new();
        reader.read_to_string(&mut log).expect("UTF-8");
        log
    });
    act(&service);
    service.terminate();
    read.join().expect("it was read").lines().map(str::to_owned).collect()
}

/// Returns how many lines the log has that contain this message, and how many more it says it left out.
fn lines(log: &[String], message: &str) -> (usize, u64) {
    let entries = log.iter().map(|line| serde_json::from_str::<Value>(line).expect("one object a line"));
    let about: Vec<Value> = entries.filter(|entry| entry.to_string().contains(message)).collect();
    let left_out = about.iter().filter_map(|entry| entry["fields"]["left_out"].as_u64());
    (about.len(), left_out.sum())
}

/// How many lines like each other are logged at most: ten, and one that says how many more there were.
const MOST: usize = 11;

#[test]
fn batches_that_cannot_be_decoded_do_not_flood_the_log() {
    const BATCHES: u64 = 2_000;
    let log = logged("bad-batches", "json", |service| {
        let publisher = Publisher::bind();
        service.register(1, "m", &publisher.endpoint());
        let mut subscriber = publisher.subscriber();
        (0..BATCHES).for_each(|sequence| subscriber.send(sequence, b"no batch"));
        until("all are counted", || service.counted("batches_undecodable") == BATCHES);
    });
    let (written, left_out) = lines(&log, "skipped a batch");
    assert!(written <= MOST, "{written} lines");
    assert_eq!(written as u64 - 1 + left_out, BATCHES, "every line is written or counted");
}

#[test]
fn sequence_numbers_that_flap_do_not_flood_the_log() {
    const RESTARTS: u64 = 1_000;
    let log = logged("flapping", "json", |service| {
        let publisher = Publisher::bind();
        service.register(1, "m", &publisher.endpoint());
        let mut subscriber = publisher.subscriber();
        let batch = rmp_serde::to_vec(&json!([1.5, [], null])).expect("plain values");
        for turn in 0..=RESTARTS {
            // Every batch is different: the service would recognise one that it has seen before as a duplicate.
            let content = [&batch[..], &turn.to_be_bytes()].concat();
            subscriber.send(1_000_000 - turn, &content);
        }
        until("it restarted often", || service.counted("restarts") == RESTARTS);
    });
    assert!(log.len() <= 5 * MOST, "{} lines", log.len());
}

#[test]
fn names_forge_no_line() {
    let forged = "m\n2026-01-01T00:00:00Z ERROR kvleap: forged\r\u{1b}[2J\u{9b}31m\u{2028}end";
    for format in ["text", "json"] {
        let log = logged(&format!("forged-{format}"), format, |service| {
            let engine =
                json!({"instance_id": 1, "model_name": forged, "block_size": 4, "endpoint": "tcp://127.0.0.1:1"});
            // Whether or not such a name is taken, nothing may forge a line.
            service.post("/register", &engine);
            let engine = json!({"instance_id": 1, "model_name": "m", "block_size": 4, "endpoint": forged});
            service.post("/register", &engine);
        });
        assert!(log.iter().all(|line| line.starts_with(if format == "json" { "{" } else { "20" })), "{log:?}");
        assert!(!log.iter().any(|line| line.starts_with("2026-01-01")), "{log:?}");
        let raw = |line: &String| line.chars().any(|c| c.is_control() || c == '\u{2028}');
        assert!(format == "json" || !log.iter().any(raw), "{log:?}");
    }
}
