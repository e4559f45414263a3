//! `kvleap sweep`: what it prints, which files it leaves, and its exit code.

use std::path::Path;
use std::process::{Command, Output};
use std::{env, fs};

use serde_json::Value;

use crate::common::scratch::Scratch;

/// Options that make a sweep small enough for a debug build, although every trial is a process.
const SMALL: [&str; 13] = [
    "--quick",
    "--requests",
    "120",
    "--workers",
    "2",
    "--blocks-per-worker",
    "1200",
    "--window",
    "0.02",
    "--runs",
    "1",
    "--backends",
    "kvleap,null",
];

fn sweep(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kvleap")).arg("sweep").args(args).output().expect("the command runs")
}

fn refusal(args: &[&str]) -> String {
    crate::refusal(&sweep(args))
}

#[test]
fn a_sweep_leaves_a_table_every_trial_and_the_chart() {
    let scratch = Scratch::new("all");
    let [json, svg, png] = ["sweep.json", "sweep.svg", "sweep.png"].map(|name| scratch.path(name));
    let files = ["--json", &json, "--figure", &svg, "--figure", &png, "--theme", "dark"];
    let output = sweep(&[&SMALL[..], &files].concat());
    let table = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty(), "no progress bar without a terminal");
    for line in ["| kvleap ", "| null "] {
        assert_eq!(table.lines().filter(|row| row.starts_with(line)).count(), 1, "{table}");
    }

    let report: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    let ours = &report["backends"][0];
    assert_eq!((&ours["name"], &ours["wrong_answers"]), (&Value::from("kvleap"), &Value::from(0)));
    assert_eq!(ours["answers"]["collisions_wrong"], 0);
    assert!(ours["answers"]["checked"].as_u64() > Some(0));
    assert!(!ours["trials"].as_array().unwrap().is_empty());
    assert!(fs::read_to_string(&svg).unwrap().contains("block operations/s"));
    assert!(fs::read(&png).unwrap().starts_with(b"\x89PNG"));
    let mut left: Vec<_> = fs::read_dir(&scratch.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["sweep.json", "sweep.png", "sweep.svg"], "no other file is left");

    let schedule = scratch.path("fleet.schedule");
    let null = ["--backends", "null", "--json", "-"];
    let made = sweep(&[&SMALL[..11], &null, &["--save-schedule", &schedule]].concat());
    let played =
        sweep(&[&["--quick", "--window", "0.02", "--runs", "1"], &null[..], &["--schedule", &schedule]].concat());
    let workload = |output: &Output| {
        let mut report: Value = serde_json::from_slice(&output.stdout).expect("one JSON object and no table");
        report["workload"]["source"].take();
        report["workload"].take()
    };
    assert_eq!(workload(&made), workload(&played), "the same fleet");
}

#[test]
fn bad_input_is_refused_before_anything_runs() {
    let scratch = Scratch::new("bad");
    let refused = |args: &[&str], why: &str| {
        let text = refusal(args);
        assert!(text.contains(why), "{args:?}: {text}");
    };
    refused(&["--backends", "kvleap,magic"], "magic");
    refused(&["--workers", "0"], "workers is 0");
    refused(&["--length-factor", "0"], "length-factor is 0");
    refused(&["--query-threads", "0", "--quick"], "query-threads is 0");
    refused(&["--runs", "0", "--quick"], "runs is 0");
    refused(&["--window=-1", "--quick"], "--window");
    refused(&["--requests", "1"], "lacks lookups or events");
    refused(&["--trace", "no/such/trace.jsonl"], "no/such/trace.jsonl");
    refused(&["--figure", "chart.jpg"], ".svg or .png");
    refused(&["--figure", "no/such/folder/chart.svg"], "no/such/folder/chart.svg");
    refused(&["--json", scratch.0.to_str().unwrap()], "can be written");

    let trace = scratch.path("trace.jsonl");
    fs::write(&trace, "{}").unwrap();
    refused(&["--schedule", &trace], "trace.jsonl");
    let row = |at: u32, ids: &str| {
        format!(r#"{{"timestamp": {at}, "input_length": 1000, "output_length": 9, "hash_ids": [{ids}]}}"#) + "\n"
    };
    fs::write(&trace, row(5, "1, 2") + &row(4, "1, 3")).unwrap();
    refused(&["--trace", &trace], ":2:");
    fs::write(&trace, row(4, "1, 2") + &row(5, "3, 2")).unwrap();
    refused(&["--trace", &trace], "id 2");
    fs::write(&trace, row(4, "1, 2")).unwrap();
    refused(&["--trace", &trace, "--block-size", "100"], "100");
    refused(&["--trace", &trace, "--blocks-per-worker", "10"], "needs");
    assert!(!Path::new("chart.jpg").exists());
}

#[test]
fn help_has_examples_and_hides_the_processes_of_trials() {
    let help = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_kvleap")).args(args).output().expect("the command runs");
        String::from_utf8(output.stdout).expect("text")
    };
    let sweep = help(&["sweep", "--help"]);
    assert!(sweep.contains("Examples:") && sweep.contains("Exit codes:") && sweep.contains("concurrent-radix-tree"));
    assert!(!help(&["--help"]).contains("sweep-job"));
}
