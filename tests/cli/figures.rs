//! `kvleap figures`: which files it leaves, what it prints, and its exit code.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::common::scratch::Scratch;

fn figures(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kvleap")).arg("figures").args(args).output().expect("the command runs")
}

fn refusal(args: &[&str]) -> String {
    crate::refusal(&figures(args))
}

#[test]
fn a_figure_is_drawn_and_drawn_again_from_its_data() {
    let scratch = Scratch::new("all");
    let (first, again) = (scratch.path("first"), scratch.path("again"));
    let output = figures(&["--out", &first, "--only", "3,prefix-structure", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty(), "no progress bar without a terminal");
    let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    let figure = &report["figures"][0];
    assert_eq!((&figure["figure"], &figure["name"]), (&Value::from(3), &Value::from("prefix-structure")));
    assert_eq!(report["figures"].as_array().map(Vec::len), Some(1), "a figure that is named twice is drawn once");
    let files: Vec<&str> = figure["files"].as_array().unwrap().iter().map(|file| file.as_str().unwrap()).collect();
    assert_eq!(files.len(), 6);
    assert!(files.iter().all(|file| Path::new(file).is_file()));
    let caption = fs::read_to_string(format!("{first}/3-prefix-structure.md")).unwrap();
    assert_eq!(figure["caption"], Value::from(caption.as_str()));
    assert!(fs::read(format!("{first}/3-prefix-structure-dark.png")).unwrap().starts_with(b"\x89PNG"));

    let data = format!("{first}/data");
    let output = figures(&["--out", &again, "--only", "prefix-structure", "--data", &data, "--theme", "light"]);
    assert!(String::from_utf8(output.stdout).unwrap().contains(caption.trim()));
    let mut left: Vec<_> = fs::read_dir(&again).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["3-prefix-structure-light.png", "3-prefix-structure-light.svg", "3-prefix-structure.md", "data"]);
    for file in ["3-prefix-structure-light.svg", "3-prefix-structure-light.png", "data/3-prefix-structure.json"] {
        assert_eq!(
            fs::read(format!("{first}/{file}")).unwrap(),
            fs::read(format!("{again}/{file}")).unwrap(),
            "{file}"
        );
    }
}

#[test]
fn bad_input_is_refused_before_anything_runs() {
    let scratch = Scratch::new("bad");
    let out = scratch.path("out");
    let refused = |args: &[&str], why: &str| {
        let text = refusal(args);
        assert!(text.contains(why), "{args:?}: {text}");
    };
    refused(&["--out", &out, "--only", "9"], "choose from 1 (event-density), 2 (event-flow), 3 (prefix-structure)");
    refused(&["--only", "1"], "--out");
    refused(&["--out", &out, "--theme", "sepia"], "both");
    refused(&["--out", &out, "--data", "no/such"], "no/such/1-event-density.json: cannot be read");
    refused(&["--out", &out, "--data", &out, "--sweep", "sweep.json"], "cannot be used with");
    let old = scratch.path("");
    scratch.file("3-prefix-structure.json", r#"{"version":99,"figure":"prefix-structure","data":{}}"#);
    refused(&["--out", &out, "--only", "3", "--data", &old], "3-prefix-structure.json: has version 99");
    assert!(!Path::new(&out).exists(), "no folder is made if nothing can be drawn");

    let file = scratch.file("file", "");
    refused(&["--out", &file, "--only", "3"], "file: cannot be written");
    refused(&["--out", &format!("{file}/below"), "--only", "3"], "below: cannot be written");
    refused(&["--out", &out, "--only", "1", "--trace", "no/such/trace.jsonl"], "no/such/trace.jsonl");
    let empty = scratch.file("empty.jsonl", "");
    refused(&["--out", &out, "--only", "1", "--record", &empty], "empty.jsonl");
    refused(&["--out", &out, "--only", "6", "--sweep", &empty], "is not the JSON of a sweep");
    let left = fs::read_dir(&out).unwrap().count();
    assert_eq!(left, 0, "no partial figure is left");
}

#[test]
fn help_has_the_figures_and_examples() {
    let output = figures(&["--help"]);
    let help = String::from_utf8(output.stdout).expect("text");
    for text in ["Figures:", "Examples:", "Exit codes:", "jump-search", "--data", "--sweep", "[default: both]"] {
        assert!(help.contains(text), "{text}: {help}");
    }
}
