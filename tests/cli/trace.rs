//! `kvleap trace`: what it prints, which files it leaves, and its exit code.

use std::io::{Read, Write};
use std::process::{Command, Output, Stdio};
use std::{env, fs};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

use crate::common::scratch::Scratch;

const ROWS: &str = r#"{"timestamp": 0, "input_length": 1500, "output_length": 40, "hash_ids": [0, 1, 2], "session_id": "a"}
{"timestamp": 5, "input_length": 1100, "output_length": 600, "hash_ids": [0, 1, 3], "session_id": "a"}
{"timestamp": 90000, "input_length": 512, "output_length": 1, "hash_ids": [4]}
"#;

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kvleap"));
    command.arg("trace").args(args).stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> Output {
    command(args).output().expect("the command runs")
}

/// Runs a command that must succeed and print nothing on stderr, and returns what it prints on stdout.
fn printed(args: &[&str]) -> String {
    let output = run(args);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {errors}");
    assert!(errors.is_empty(), "no progress bar without a terminal: {errors}");
    String::from_utf8(output.stdout).expect("text")
}

/// Runs a command that must refuse its input, and returns what it prints on stderr. It must print nothing else.
fn refusal(args: &[&str]) -> String {
    let output = run(args);
    let text = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(2), "{args:?}: {text}");
    assert!(output.stdout.is_empty(), "{args:?}");
    assert!(!text.contains("panicked"), "{text}");
    text
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).and_then(|()| encoder.finish()).expect("memory")
}

fn zstd(text: &str) -> Vec<u8> {
    zstd::encode_all(text.as_bytes(), 1).expect("memory")
}

#[test]
fn an_analysis_is_printed_as_json_or_text() {
    let scratch = Scratch::new("analyze");
    let files = [
        scratch.file("t.jsonl", ROWS),
        scratch.file("t.jsonl.gz", gzip(ROWS)),
        scratch.file("t.jsonl.zst", zstd(ROWS)),
    ];
    let args: Vec<&str> = ["analyze", "--json"].into_iter().chain(files.iter().map(String::as_str)).collect();
    let text = printed(&args);
    let reports: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("one object per line")).collect();
    assert_eq!(reports.len(), 3);
    for (report, file) in reports.iter().zip(&files) {
        assert_eq!(report["file"], **file);
        assert_eq!((&report["requests"], &report["unique_hash_ids"]), (&3.into(), &5.into()));
        assert_eq!(report["block_weighted_hit_rate"].as_f64(), Some(2.0 / 7.0));
        assert_eq!(report["metrics"]["Context Length"]["mean"].as_f64(), Some(2048.0 / 3.0));
        for figure in ["mean", "std", "min", "p25", "median", "p75", "max"] {
            assert!(report["metrics"]["Theoretical Hit Rates"][figure].is_f64(), "{figure}");
        }
        assert_eq!(report["curves"].as_array().map(Vec::len), Some(4));
        assert_eq!(report["windows"].as_array().map(Vec::len), Some(2));
        assert_eq!(report["sessions"]["sessions"], 1);
    }
    let keys: Vec<_> =
        ["Input Length", "Context Length", "Unique Prompt Length", "Output Length", "Theoretical Hit Rates"]
            .map(|name| text.find(name).expect(name))
            .into();
    assert!(keys.is_sorted(), "the fields are in the order of the table");

    let text = printed(&["analyze", &files[0], "--workers", "3"]);
    for part in [
        "| Input Length",
        "| Causal Context Length",
        "Std Dev",
        "3 workers",
        "Working set",
        "1 session with 2 requests",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains('\u{1b}'), "no colours without a terminal");
}

#[test]
fn standard_input_is_read() {
    for bytes in [ROWS.as_bytes().to_vec(), gzip(ROWS), zstd(ROWS)] {
        let mut child = command(&["analyze", "--json", "-"]);
        let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the command starts");
        child.stdin.take().expect("a pipe").write_all(&bytes).expect("it reads");
        let output = child.wait_with_output().expect("the command ends");
        let report: Value = serde_json::from_slice(&output.stdout).expect("one object");
        assert_eq!((&report["file"], &report["requests"]), (&"stdin".into(), &3.into()));
    }
}

#[test]
fn an_analysis_is_drawn() {
    let scratch = Scratch::new("plot");
    let trace = scratch.file("t.jsonl", ROWS);
    let (svg, png) = (scratch.path("plot.svg"), scratch.path("plot.png"));
    printed(&["analyze", &trace, "--plot", &svg]);
    printed(&["analyze", &trace, "--plot", &png, "--theme", "dark"]);
    let text = fs::read_to_string(svg).expect("an SVG");
    for part in ["Hit rate by cache size", "Working set over time", "Input Length", "Output Length", "2 workers"] {
        assert!(text.contains(part), "{part}");
    }
    assert!(fs::read(png).expect("a PNG").starts_with(b"\x89PNG"));
    assert_eq!(scratch.names(), ["plot.png", "plot.svg", "t.jsonl"]);

    let two = refusal(&["analyze", &trace, &trace, "--plot", &scratch.path("two.svg")]);
    assert!(two.contains("--figure"), "{two}");
    assert!(refusal(&["analyze", &trace, "--plot", &scratch.path("plot.pdf")]).contains(".svg or .png"));
    assert!(refusal(&["analyze", &trace, "--plot", &scratch.path("no/plot.svg")]).contains("no/plot.svg"));
    assert_eq!(scratch.names().len(), 3);
}

#[test]
fn equal_seeds_synthesise_equal_bytes() {
    let scratch = Scratch::new("synthesize");
    let source = scratch.file("source.jsonl", ROWS);
    let make = |seed: &str, name: &str| {
        let path = scratch.path(name);
        printed(&[
            "synthesize",
            "--input-file",
            &source,
            "--num-requests",
            "50",
            "--seed",
            seed,
            "--output-file",
            &path,
        ]);
        fs::read(path).expect("the trace")
    };
    assert_eq!(make("1", "a.jsonl"), make("1", "b.jsonl"));
    assert_ne!(make("1", "a.jsonl"), make("2", "b.jsonl"));
    let stdout = printed(&["synthesize", "--input-file", &source, "--num-requests", "50", "--seed", "1"]);
    assert_eq!(stdout.as_bytes(), make("1", "a.jsonl"));
    make("1", "c.jsonl.gz");
    let report = |name: &str| printed(&["analyze", "--json", &scratch.path(name)]).replace(&scratch.path(name), "");
    assert_eq!(report("a.jsonl"), report("c.jsonl.gz"));

    for kind in ["shared-prompts", "conversations", "rag", "agents"] {
        let path = scratch.path(kind);
        printed(&["synthesize", "--generate", kind, "--num-requests", "40", "--zipf", "1.2", "--output-file", &path]);
        let report: Value = serde_json::from_str(&printed(&["analyze", "--json", &path])).expect("one object");
        assert_eq!(report["requests"], 40);
    }
}

#[test]
fn prompts_are_hashed_and_replayed() {
    let scratch = Scratch::new("hash");
    let prompts =
        scratch.file("p.jsonl", "{\"prompt\": \"a b c d\"}\n{\"prompt\": \"a b e f\"}\n{\"prompt\": \"x y c d\"}\n");
    let trace = scratch.path("t.jsonl");
    printed(&["hash", &prompts, "--block-size", "2", "--output-file", &trace]);
    let ids: Vec<Value> = fs::read_to_string(&trace)
        .expect("the trace")
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("a row")["hash_ids"].clone())
        .collect();
    assert_eq!(Value::from(ids), serde_json::json!([[0, 1], [0, 2], [3, 4]]));
    let replay = Command::new(env!("CARGO_BIN_EXE_kvleap"))
        .args([
            "replay",
            "--trace",
            &trace,
            "--trace-block-size",
            "2",
            "--block-size",
            "2",
            "--workers",
            "1",
            "--verify",
        ])
        .output()
        .expect("the command runs");
    assert_eq!(replay.status.code(), Some(0), "{}", String::from_utf8_lossy(&replay.stderr));

    let bad = scratch.file("bad.jsonl", "{\"prompt\": \"a\"}\n{}\n");
    assert!(refusal(&["hash", &bad, "--output-file", &scratch.path("out.jsonl")]).contains("bad.jsonl:2:2"));
    let text = refusal(&["hash", &prompts, "--tokenizer", "no.json", "--output-file", &scratch.path("out.jsonl")]);
    assert!(text.contains("no.json"), "{text}");
    assert!(!scratch.names().iter().any(|name| name.starts_with("out")), "{:?}", scratch.names());
}

#[test]
fn traces_are_converted() {
    let scratch = Scratch::new("convert");
    let trace = scratch.file("t.jsonl", ROWS);
    let small = scratch.path("small.jsonl");
    printed(&["convert", "--from", "rows", "--to-block-size", "128", &trace, "--output-file", &small]);
    let report: Value = serde_json::from_str(&printed(&["analyze", "--block-size", "128", "--json", &small])).unwrap();
    assert_eq!((&report["blocks"], &report["hit_blocks"]), (&(12 + 9 + 4).into(), &8.into()));

    let sessions = printed(&["convert", "--from", "rows", "--to", "sessions", &trace]);
    assert_eq!(sessions.lines().count(), 2, "one session, and one request without a session");
    let sessions = scratch.file("sessions.jsonl", sessions);
    assert_eq!(printed(&["convert", "--from", "sessions", &sessions, "--rate", "0.1"]).lines().count(), 3);

    let chats = scratch.file(
        "chats.json",
        r#"[{"conversations": [{"from": "human", "value": "a b"}, {"from": "gpt", "value": "c"}]}]"#,
    );
    let row: Value =
        serde_json::from_str(&printed(&["convert", "--from", "chats", &chats, "--block-size", "2"])).unwrap();
    assert_eq!(
        (&row["input_length"], &row["output_length"], &row["hash_ids"]),
        (&2.into(), &1.into(), &[0].as_slice().into())
    );
}

#[test]
fn bad_traces_are_refused_by_file_line_and_reason() {
    let scratch = Scratch::new("bad");
    let mut cut = gzip(ROWS);
    cut.truncate(cut.len() - 12);
    let mut cut_zstd = zstd(ROWS);
    cut_zstd.truncate(cut_zstd.len() - 12);
    let change = |from: &str, to: &str| ROWS.replacen(from, to, 1).into_bytes();
    let cases: [(&str, Vec<u8>, &str); 12] = [
        ("json.jsonl", change("[0, 1, 3]", "[0, 1"), "json.jsonl:2:"),
        ("missing.jsonl", change("\"output_length\": 600", "\"x\": 600"), "missing field `output_length`"),
        ("negative.jsonl", change("1100", "-1100"), "negative.jsonl:2:"),
        ("few.jsonl", change("[0, 1, 3]", "[0]"), "few.jsonl:2: 1 ids are too few"),
        ("unsorted.jsonl", change("90000", "4"), "unsorted.jsonl:3: the request arrives at 4 ms"),
        ("parents.jsonl", change("[4]", "[3]"), "parents.jsonl:3: the id 3 has two parents"),
        ("binary.jsonl", vec![0xff, 0xfe, 0, 10], "binary.jsonl:1:"),
        ("empty.jsonl", Vec::new(), "empty.jsonl: no rows"),
        ("cut.jsonl.gz", cut, "the gzip data ends early"),
        ("cut.jsonl.zst", cut_zstd, "the zstd data ends early"),
        ("large.jsonl", change("1100", "99999999999"), "large.jsonl:2:"),
        ("float.jsonl", change("[4]", "[4.5]"), "float.jsonl:3:"),
    ];
    let out = scratch.path("out.jsonl");
    for (name, bytes, why) in cases {
        let trace = scratch.file(name, bytes);
        for args in [
            &["analyze", "--json", &trace, "--plot", &scratch.path("out.svg")][..],
            &["synthesize", "--input-file", &trace, "--output-file", &out],
        ] {
            let text = refusal(args);
            assert!(text.contains(why) && text.contains(name), "{name}: {text}");
        }
        let unchecked = ["parents.jsonl"].contains(&name);
        if !unchecked {
            let text = refusal(&["convert", "--from", "rows", &trace, "--output-file", &out]);
            assert!(text.contains(why) && text.contains(name), "{name}: {text}");
        }
    }
    assert!(refusal(&["analyze", &scratch.path("nothing.jsonl")]).contains("nothing.jsonl"));
    assert!(!scratch.names().iter().any(|name| name.starts_with("out")), "{:?}", scratch.names());
}

#[test]
fn options_out_of_range_are_refused() {
    let scratch = Scratch::new("options");
    let trace = scratch.file("t.jsonl", ROWS);
    for args in [&["--block-size", "0"][..], &["--workers", "0"], &["--workers", "5000"], &["--window", "0"]] {
        let text = refusal(&[&["analyze", &trace], args].concat());
        assert!(text.contains(args[0]), "{text}");
    }
    for args in [
        &["--requests", "0"][..],
        &["--speedup-ratio", "0"],
        &["--speedup-ratio", "nan"],
        &["--prefix-len-multiplier", "0"],
        &["--prefix-root-multiplier", "0"],
        &["--prompt-len-multiplier=-1"],
        &["--osl-multiplier", "inf"],
        &["--min-isl", "10", "--max-isl", "9"],
        &["--min-osl", "10", "--max-osl", "9"],
        &["--block-size", "0"],
        &["--shuffle", "0"],
        &["--no-such-option"],
    ] {
        let text = refusal(&[&["synthesize", "--input-file", &trace], args].concat());
        assert!(text.contains(args[0].split('=').next().unwrap()), "{args:?}: {text}");
    }
    assert!(refusal(&["synthesize", "--input-file", &trace, "--zipf", "1"]).contains("--generate is missing"));
    let text = refusal(&["synthesize", "--input-file", &trace, "--max-isl", "3"]);
    assert!(text.contains("--max-isl") && text.contains("tokens: widen the limits"), "{text}");
    for args in
        [&["--generate", "zipf"][..], &["--generate", "rag", "--turns", "3"], &["--generate", "rag", "--zipf", "-1"]]
    {
        refusal(&[&["synthesize"], args].concat());
    }
    for args in [&["--rate", "0"][..], &["--to", "chats"], &["--to-block-size", "5"]] {
        refusal(&[&["convert", "--from", "rows", &trace, "--to-block-size", "256"][..4], args].concat());
    }
}

#[test]
fn outputs_that_cannot_be_written_are_refused() {
    let scratch = Scratch::new("output");
    let trace = scratch.file("t.jsonl", ROWS);
    let refusal =
        |path: &str| refusal(&["synthesize", "--input-file", &trace, "--num-requests", "10", "--output-file", path]);
    assert!(refusal(&scratch.path("no/out.jsonl")).contains("no/out.jsonl"));
    assert!(refusal(&scratch.path("")).contains("cannot be written"), "the path is a directory");
    assert!(refusal(&scratch.path("out.jsonl.zst")).contains("zstd is read, not written"));
    assert_eq!(scratch.names(), ["t.jsonl"]);
}

/// A device that is always full stands for a full disk.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_reported() {
    let scratch = Scratch::new("full");
    let trace = scratch.file("t.jsonl", ROWS);
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("a full device");
    let mut synthesize = command(&["synthesize", "--input-file", &trace]);
    let output = synthesize.stdout(full).stderr(Stdio::piped()).output().expect("the command runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("stdout: the output cannot be written"), "{text}");

    // A limit on the size of files stands for a disk that is full when a file is written.
    let out = scratch.path("out.jsonl");
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_kvleap")])
        .args(["trace", "synthesize", "--input-file", &trace, "--output-file", &out])
        .output()
        .expect("a shell runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("out.jsonl: the output cannot be written"), "{text}");
    assert_eq!(scratch.names(), ["t.jsonl"]);
}

#[test]
fn a_reader_that_closes_the_pipe_is_no_failure() {
    let mut synthesize = command(&["synthesize", "--generate", "rag", "--num-requests", "100000"]);
    let mut child = synthesize.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command starts");
    let mut line = [0; 100];
    child.stdout.take().expect("a pipe").read_exact(&mut line).expect("a beginning");
    let output = child.wait_with_output().expect("the command ends");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn help_has_examples() {
    for tool in ["analyze", "synthesize", "hash", "convert"] {
        let text = printed(&[tool, "--help"]);
        assert!(text.contains("Examples:") && text.contains("Exit codes:"), "{tool}");
    }
}
