//! `GET /metrics`, as Prometheus reads it, and the alerts that are made of it.

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use kvleap::service::{ALERTS, Config, Engine};
use serde_json::{Value, json};

use crate::common::scratch::Scratch;
use crate::common::service::{Service, config, event, events, stored};

const LOCALS: [u64; 4] = [11, u64::MAX, 1 << 63, 14];

fn query(locals: &[u64]) -> Value {
    let hashes: Vec<i64> = locals.iter().map(|hash| hash.cast_signed()).collect();
    json!({"model_name": "m", "block_hashes": hashes})
}

fn metrics(service: &Service) -> String {
    let answer = service.agent.get(service.url("/metrics")).call().expect("it answers");
    answer.into_body().read_to_string().expect("text")
}

/// Returns the value of this metric, whose labels are given as they are written.
fn value(text: &str, metric: &str) -> f64 {
    let value = text.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("{metric} is not in\n{text}")).parse().expect("a number")
}

/// Returns the value of this metric of the model `m`, which is a count.
fn count(text: &str, metric: &str, more: &str) -> u64 {
    let labels = format!(r#"{{group="default",model="m",tenant=""{more}}}"#);
    let line = text.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(&labels));
    line.unwrap_or_else(|| panic!("{metric} is not in\n{text}")).trim().parse().expect("a count")
}

/// Starts a service that has something to say in every metric.
fn busy(scratch: &Scratch) -> Service {
    let snapshot = Some(scratch.path("snapshot").into());
    let service = Service::start(Config { snapshot, memory_budget: Some(1 << 30), ..config() });
    let orphan = json!({"stored": {"parent_hash": 999, "blocks": [{"block_hash": 1, "tokens_hash": 2}]}});
    service.post("/events", &events(&[stored((7, 0), "external", 1, &LOCALS), event((7, 0), "device", orphan)]));
    service.post("/query_by_hash", &query(&LOCALS));
    service
}

#[test]
fn metrics_add_up() {
    let service = Service::start(config());
    service.post("/events", &events(&[stored((7, 0), "device", 1, &LOCALS)]));
    for _ in 0..3 {
        service.post("/query_by_hash", &query(&LOCALS));
    }
    service.get("/nothing");
    let text = metrics(&service);
    for line in [
        r#"kvleap_blocks_held{group="default",model="m",tenant=""} 4"#,
        r#"kvleap_blocks_distinct{group="default",model="m",tenant=""} 4"#,
        r#"kvleap_blocks_indexed{group="default",model="m",tenant=""} 4"#,
        r#"kvleap_runs{group="default",model="m",tenant=""} 1"#,
        r#"kvleap_index_rejected_total{group="default",model="m",tenant="",reason="unknown_parent"} 0"#,
        "kvleap_lookup_seconds_count 3",
        r#"kvleap_http_responses_total{class="2xx"} 4"#,
        r#"kvleap_http_responses_total{class="4xx"} 1"#,
        r#"kvleap_publishers{group="default",model="m",tenant="",state="live"} 1"#,
        r#"kvleap_publisher_total{group="default",model="m",tenant="",instance_id="7",dp_rank="0",kind="blocks"} 4"#,
        "kvleap_models 1",
        "kvleap_models_limit 256",
        "kvleap_connections_limit 1024",
        r#"kvleap_shards{group="default",model="m",tenant=""} 1"#,
        r#"kvleap_mailbox_capacity{group="default",model="m",tenant="",shard="0"} 65536"#,
        concat!(r#"kvleap_build_info{version=""#, env!("CARGO_PKG_VERSION"), r#""} 1"#),
    ] {
        assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
    }
    assert!(value(&text, "kvleap_connections") >= 1.0, "this request has one");
    let late = count(&text, "kvleap_staleness_seconds_bucket", r#",le="+Inf""#);
    assert_eq!(late, count(&text, "kvleap_index_events_total", ""), "every event is in the histogram");
    service.server.stop();
}

#[test]
fn every_metric_is_in_the_operators_table() {
    let scratch = Scratch::new("metrics");
    let service = busy(&scratch);
    let text = metrics(&service);
    let manual = include_str!("../../OPERATIONS.md");
    let names = text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next());
    let missing: Vec<_> = names.filter(|name| !manual.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let documented = manual.split('`').filter(|name| name.starts_with("kvleap_") && !name.contains('{'));
    let gone: Vec<_> = documented.filter(|name| !text.contains(*name)).collect();
    assert!(gone.is_empty(), "{gone:?}");
    service.server.stop();
}

/// The hit rate is the quotient of two counters: tokens found by tokens asked.
#[test]
fn tokens_asked_and_found_give_the_hit_rate() {
    let service = Service::start(config());
    let sent = [stored((7, 0), "device", 1, &LOCALS[..2]), stored((8, 0), "host_pinned", 1, &LOCALS[..3])];
    service.post("/events", &events(&sent));
    service.post("/query_by_hash", &query(&LOCALS));
    service.post("/v1/match", &query(&LOCALS[1..]));
    service.post("/query", &json!({"model_name": "m", "token_ids": [1, 2, 3, 4, 5, 6]}));
    let text = metrics(&service);
    let of = |name: &str| count(&text, name, "");
    assert_eq!(of("kvleap_tokens_asked_total"), 4 * (4 + 3 + 1), "blocks have 4 tokens");
    assert_eq!(of("kvleap_tokens_found_total"), 4 * 3, "the longest match of any worker counts, and only once");
    service.server.stop();
}

#[test]
fn a_worker_is_one_worker_on_however_many_tiers() {
    let service = Service::start(config());
    let mut slower = stored((7, 0), "disk", 1, &LOCALS);
    slower["event"]["event_id"] = json!(2);
    let sent = [stored((7, 0), "device", 1, &LOCALS[..2]), slower, stored((7, 1), "device", 1, &LOCALS[..1])];
    service.post("/events", &events(&sent));
    let text = metrics(&service);
    let of = |name: &str| count(&text, name, "");
    assert_eq!((of("kvleap_workers"), of("kvleap_blocks_held")), (2, 4 + 1));
    service.server.stop();
}

/// Whoever may send events can name any number of workers.
#[test]
fn many_workers_do_not_make_the_metrics_long() {
    const WORKERS: u64 = 1500;
    let service = Service::start(config());
    let orphan = json!({"stored": {"parent_hash": 999, "blocks": [{"block_hash": 1, "tokens_hash": 2}]}});
    let sent: Vec<_> = (0..WORKERS).map(|worker| event((worker, 0), "device", orphan.clone())).collect();
    assert_eq!(service.post("/events", &events(&sent)).0, 200);
    let text = metrics(&service);
    assert!(text.lines().any(|line| line == "kvleap_publishers_unlisted 500"), "{text}");
    let of = |start: &str| text.lines().filter(|line| line.starts_with(start)).count();
    assert_eq!(of("kvleap_publisher_lag_seconds{"), 1000);
    assert!(of("kvleap_rank_inexact{") <= 1000, "a rank has one reason here");
    let inexact = count(&text, "kvleap_ranks_inexact", r#",exactness="at_least""#);
    assert_eq!(inexact, WORKERS, "the sum has all of them");
    service.server.stop();
}

#[cfg(target_os = "linux")]
#[test]
fn the_process_is_measured_under_the_usual_names() {
    let service = Service::start(config());
    let text = metrics(&service);
    let threads = std::fs::read_dir("/proc/self/task").expect("Linux has it").count() as f64;
    assert!(value(&text, "process_threads") > 2.0 && value(&text, "process_threads") < 2.0 * threads + 100.0);
    let (open, most) = (value(&text, "process_open_fds"), value(&text, "process_max_fds"));
    assert!(3.0 < open && open < most, "{open} of {most}");
    let (resident, all) = (value(&text, "process_resident_memory_bytes"), value(&text, "process_virtual_memory_bytes"));
    assert!(1e6 < resident && resident < all, "{resident} of {all}");
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_secs_f64();
    let start = value(&text, "process_start_time_seconds");
    assert!(now - 86_400.0 < start && start < now + 5.0, "{start} at {now}");
    assert!(value(&text, "process_cpu_seconds_total") >= 0.0);
    service.server.stop();
}

/// Runs promtool, and returns what it printed if it found fault. Without promtool, prints so and returns `None`.
fn promtool(args: &[&str], input: &str) -> Option<String> {
    let mut command = Command::new("promtool");
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR"))).args(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        // Write to stderr directly, because the test harness hides what a passing test prints.
        writeln!(io::stderr(), "SKIPPED: no promtool found; install prometheus").expect("stderr is open");
        return None;
    };
    child.stdin.take().expect("it is piped").write_all(input.as_bytes()).expect("it reads its input");
    let output = child.wait_with_output().expect("it ends");
    let text = String::from_utf8([output.stdout, output.stderr].concat()).expect("UTF-8");
    (!output.status.success()).then_some(text)
}

#[test]
fn prometheus_finds_no_fault_with_the_metrics() {
    let scratch = Scratch::new("promtool");
    let service = busy(&scratch);
    let name = "a\"} 1\nkvleap_forged{b=\"\\";
    let mut sent = events(&[stored((8, 1), "device", 1, &LOCALS)]);
    sent["model_name"] = json!(name);
    service.post("/events", &sent);
    let endpoint = "tcp://127.0.0.1:1".to_owned();
    let engine = Engine { instance_id: 9, endpoint, model_name: "n".to_owned(), block_size: 4, ..Engine::default() };
    service.server.indexer().register(engine).expect("a good engine");
    let text = metrics(&service);
    assert!(!text.lines().any(|line| line.starts_with("kvleap_forged")), "{text}");
    assert_eq!(promtool(&["check", "metrics"], &text), None);
    service.server.stop();
}

#[test]
fn every_alert_fires_and_recovers() {
    let tests = include_str!("alerts.yml");
    for alert in ALERTS.lines().filter_map(|line| line.trim_start().strip_prefix("- alert: ")) {
        assert!(tests.contains(&format!("alertname=\"{alert}\"")), "{alert} is never seen to fire");
    }
    assert_eq!(promtool(&["check", "rules", "src/service/metrics/alerts.yml"], ""), None);
    assert_eq!(promtool(&["test", "rules", "tests/service/alerts.yml"], ""), None);
}

#[test]
fn alerts_are_about_metrics_that_exist() {
    let scratch = Scratch::new("alerts");
    let service = busy(&scratch);
    let text = metrics(&service);
    let known: BTreeSet<_> = text.lines().filter_map(|line| line.split(['{', ' ']).next()).collect();
    let rules = ALERTS.lines().filter(|line| !line.trim_start().starts_with('#') && !line.contains("description:"));
    let words = rules.flat_map(|line| line.split(|sign: char| !sign.is_ascii_alphanumeric() && sign != '_'));
    let named: BTreeSet<_> = words.filter(|word| word.starts_with("kvleap_") || word.starts_with("process_")).collect();
    assert!(named.len() > 20, "{named:?}");
    assert_eq!(named.difference(&known).collect::<Vec<_>>(), Vec::<&&str>::new());
    service.server.stop();
}
