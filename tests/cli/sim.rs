//! `kvleap simulate`: what it prints, which files it leaves, and its exit code.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::common::scratch::Scratch;
use crate::common::shared;

fn simulate(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kvleap"));
    command.current_dir(folder).arg("simulate").args(args).output().expect("the command runs")
}

fn stdout(output: Output) -> String {
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// Runs a command that must refuse its input, and returns what it prints on stderr. It must print nothing else and
/// leave no file.
fn refusal(scratch: &Scratch, args: &[&str]) -> String {
    let before = scratch.names();
    let output = simulate(&scratch.0, args);
    let text = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(2), "{args:?}: {text}");
    assert!(output.stdout.is_empty(), "{args:?}");
    assert!(!text.contains("panicked"), "{text}");
    assert_eq!(scratch.names(), before, "{args:?}");
    text
}

#[test]
fn without_a_subcommand_all_policies_are_compared_and_charted() {
    let scratch = Scratch::new("compare");
    let output = simulate(&scratch.0, &["--requests", "300"]);
    let printed = String::from_utf8(output.stderr.clone()).expect("text");
    assert_eq!(printed.trim(), "the charts are in simulate.html", "no progress bar without a terminal");
    let table = stdout(output);
    assert!(table.contains("300 requests of conversations"), "{table}");
    for name in kvleap::route::policy::NAMES {
        assert_eq!(table.lines().filter(|line| line.contains(&format!("| {name} "))).count(), 1, "{table}");
    }
    let page = fs::read_to_string(scratch.path("simulate.html")).expect("the charts");
    assert!(page.contains("session-affinity") && page.trim_end().ends_with("</html>"));

    let again = simulate(&scratch.0, &["compare", "--requests", "300"]);
    let printed = String::from_utf8(again.stderr.clone()).expect("text");
    assert_eq!(printed.trim(), "the charts are in simulate.html, in place of the file of that name");
    assert_eq!(stdout(again), table);
    assert_eq!(fs::read_to_string(scratch.path("simulate.html")).expect("the charts"), page);
}

#[test]
fn json_has_the_promised_fields_and_nothing_else_is_printed() {
    let scratch = Scratch::new("json");
    let args = ["--requests", "200", "--workers", "3", "--policy", "cost,random", "--json", "--no-report"];
    let report: Value = serde_json::from_str(&stdout(simulate(&scratch.0, &args))).expect("one JSON object");
    assert!(scratch.names().is_empty(), "no charts");
    let policies = report["policies"].as_array().expect("a list");
    let names: Vec<&Value> = policies.iter().map(|policy| &policy["name"]).collect();
    assert_eq!(names, ["cost", "random"]);
    for policy in policies {
        assert_eq!((&policy["requests"], &policy["rejected"]), (&Value::from(200), &Value::from(0)));
        assert_eq!(policy["requests_per_worker"].as_array().map(Vec::len), Some(3));
        for rate in ["block_hit_rate", "request_hit_rate"] {
            assert!((0.0..=1.0).contains(&policy[rate].as_f64().expect("a rate")));
        }
        assert!(policy["load_imbalance"].as_f64().is_some_and(|imbalance| imbalance >= 1.0));
        for times in ["ttft_ms", "latency_ms", "latency_hit_ms", "latency_miss_ms"] {
            for figure in ["mean", "p50", "p95", "p99"] {
                assert!(policy[times][figure].as_f64().is_some_and(|ms| ms > 0.0), "{times} {figure}: {policy}");
            }
        }
    }
}

#[test]
fn every_experiment_takes_one_command() {
    let scratch = Scratch::new("experiments");
    let small = ["--requests", "60", "--no-report", "--json", "--policy", "cost"];
    for (args, axes, cells) in [
        (&["block-size", "--values", "16,256"][..], &["block-size"][..], 2),
        (&["fleet-size", "--values", "1,2,3"], &["workers"], 3),
        (&["capacity"], &["blocks"], 6),
        (&["lag"], &["lag"], 6),
        (&["temperature"], &["temperature"], 7),
        (&["grid", "--vary", "lag=0,1", "--vary", "rate=1,2,3"], &["lag", "rate"], 6),
    ] {
        let report: Value = serde_json::from_str(&stdout(simulate(&scratch.0, &[args, &small].concat()))).unwrap();
        let names: Vec<&Value> = report["axes"].as_array().unwrap().iter().map(|axis| &axis["name"]).collect();
        assert_eq!(
            (names, report["policies"].as_array().unwrap().len()),
            (axes.iter().map(|name| Value::from(*name)).collect::<Vec<_>>().iter().collect(), cells),
            "{args:?}"
        );
    }
}

#[test]
fn charts_of_a_comparison_and_of_an_experiment_are_drawn() {
    let scratch = Scratch::new("figure");
    let common = ["--requests", "200", "--policy", "cost,random", "--no-report", "--figure"];
    let drawn = |args: &[&str], name: &str| {
        stdout(simulate(&scratch.0, &[args, &common, &[name]].concat()));
        fs::read_to_string(scratch.path(name)).expect("the figure")
    };
    let compare = drawn(&["compare"], "compare.svg");
    let lag = drawn(&["lag", "--values", "0,1"], "lag.svg");
    for (svg, titles) in [(&compare, ["Time to first token", "Match length"]), (&lag, ["Hit rate", "Imbalance"])] {
        for text in titles.into_iter().chain(["cost", "random", "200 requests"]) {
            assert!(svg.contains(text), "{text}");
        }
    }
    let rows = drawn(&["grid", "--vary", "workers=2,4", "--vary", "lag=0,1"], "grid.svg");
    assert_eq!(rows.matches("Imbalance").count(), 2, "one row for each number of workers");
    assert!(rows.contains("One row for each of"));
}

#[test]
fn bad_input_is_refused_before_the_simulation_starts() {
    let scratch = Scratch::new("bad");
    let trace = scratch.file("trace.jsonl", "{\"timestamp\": 0, \"input_length\": \"x\"}\n");
    let long = r#"{"timestamp": 0, "input_length": 5120, "output_length": 1, "hash_ids": [1,2,3,4,5,6,7,8,9,10]}"#;
    let long = scratch.file("long.jsonl", long);
    scratch.file("file", "");
    for (args, says) in [
        (&["--policy", "best"][..], "round-robin"),
        (&["--workload", "chat"], "conversations"),
        (&["--workload", "rag", "--trace", &trace], "cannot be used with"),
        (&["--trace", &trace], "trace.jsonl:1"),
        (&["--trace", "no/such.jsonl"], "no/such.jsonl"),
        (&["--trace", &long, "--blocks", "79"], "request 1 needs 80 blocks"),
        (&["--workers", "0"], "--workers is 0"),
        (&["lag", "--lag", "1"], "--lag is set, and is what the experiment varies"),
        (&["grid", "--vary", "policy=cost", "--policy", "random"], "--policy is set"),
        (&["grid"], "--vary"),
        (&["grid", "--vary", "colour=1"], "prefill-weight, policy"),
        (&["--speedup", "2"], "--speedup"),
        (&["--temperature", "2", "--policy", "random"], "add it to --policy"),
        (&["--leave", "1:8"], "worker 8 is not present then"),
        (&["--slow", "1:2"], "SECONDS:WORKER:FACTOR"),
        (&["--profile", "gpt@tpu"], "llama-3.1-8b"),
        (&["--report", "no/such/folder.html"], "no/such/folder.html: no file of this name can be written"),
        (&["--figure", "charts.gif"], "charts.gif: a figure's name ends in .svg or .png"),
        (&["--figure", "no/such.svg"], "no/such.svg: no file of this name can be written"),
        (&["--report", "."], "no file of this name can be written"),
        (&["--report", "file/page.html"], "no file of this name can be written"),
    ] {
        let text = refusal(&scratch, args);
        assert!(text.contains(says), "{args:?}: {text:?} does not say {says:?}");
    }
}

#[test]
fn the_recorded_traces_are_played_to_their_end() {
    let scratch = Scratch::new("traces");
    for (name, block_size) in [("conversation_trace.jsonl", "512"), ("agentic_dev.jsonl.gz", "64")] {
        let Some(path) = shared::shared(&format!("traces/{name}")) else { continue };
        let path = path.canonicalize().expect("a path");
        let args = ["--trace", path.to_str().unwrap(), "--trace-block-size", block_size, "--requests", "300"];
        let more = ["--blocks", "16384", "--workers", "16", "--policy", "cost", "--no-report", "--json"];
        let report: Value = serde_json::from_str(&stdout(simulate(&scratch.0, &[&args[..], &more].concat()))).unwrap();
        assert_eq!(report["policies"][0]["finished"], 300, "{name}");
    }
}
