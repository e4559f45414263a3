//! `kvleap replay`: what it prints, which files it leaves, and its exit code. Some tests cover all subcommands.

use std::env;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

use crate::common::scratch::Scratch;

/// Options for a workload that is small enough for a debug build, and large enough to overflow caches and share
/// prefixes.
const SMALL: [&str; 6] = ["--requests", "80", "--workers", "3", "--blocks-per-worker", "60"];

const ROWS: &str = r#"{"timestamp": 0, "input_length": 1500, "output_length": 40, "hash_ids": [0, 1, 2]}
{"timestamp": 5, "input_length": 1100, "output_length": 600, "hash_ids": [0, 1, 3]}
{"timestamp": 9, "input_length": 512, "output_length": 1, "hash_ids": [4]}
"#;

const COMMANDS: [&str; 10] = [
    "replay",
    "simulate",
    "sweep",
    "figures",
    "serve",
    "publish",
    "trace analyze",
    "trace synthesize",
    "trace hash",
    "trace convert",
];

fn kvleap(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kvleap")).args(args).output().expect("the command runs")
}

fn replay(args: &[&str]) -> Output {
    kvleap(&[&["replay"], args].concat())
}

/// Runs a replay and returns its report. It must print one JSON object on stdout and nothing else.
fn report(args: &[&str]) -> Value {
    let output = replay(&[args, &["--json"]].concat());
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    let value: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert!(value.is_object());
    value
}

/// Runs a replay that must be refused, and returns what it prints on stderr. It must print nothing else.
fn refusal(args: &[&str]) -> String {
    let output = replay(args);
    let text = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(2), "{args:?}: {text}");
    assert!(output.stdout.is_empty(), "{args:?}");
    assert!(!text.contains("panicked"), "{text}");
    text
}

fn count(report: &Value, field: &str) -> u64 {
    report[field].as_u64().unwrap_or_else(|| panic!("{field} is a count: {report}"))
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).and_then(|()| encoder.finish()).expect("memory")
}

#[test]
fn the_built_in_workload_is_answered_exactly() {
    for assign in ["random", "round-robin", "best"] {
        let report = report(&[&SMALL[..], &["--verify", "--assign", assign]].concat());
        assert_eq!(count(&report, "mismatches"), 0, "{report}");
        assert_eq!(count(&report, "verified"), 80);
        assert_eq!(count(&report, "requests"), 80);
        assert_eq!(report["assign"], assign);
        let [query, best, matched] =
            ["query_blocks", "best_matched_blocks", "matched_blocks"].map(|f| count(&report, f));
        assert!(query > best && best >= matched && matched > 0, "{report}");
        assert!(count(&report, "stored_blocks") > count(&report, "removed_blocks"));
        assert!(count(&report, "removed_blocks") > 0, "the caches overflow");
        assert!((report["hit_rate"].as_f64().expect("a number") - matched as f64 / query as f64).abs() < 1e-9);
    }
}

#[test]
fn the_report_has_every_field() {
    let report = report(&SMALL);
    let numbers = [
        "requests",
        "query_blocks",
        "stored_blocks",
        "removed_blocks",
        "matched_blocks",
        "hit_rate",
        "best_matched_blocks",
        "apply_ns_per_block",
        "runs",
        "indexed_blocks",
        "held_blocks",
        "index_bytes",
        "bytes_per_held_block",
        "events",
        "events_per_second",
        "shards",
        "workers",
        "blocks_per_worker",
        "block_size",
        "seed",
    ];
    for field in numbers {
        assert!(report[field].is_number(), "{field}: {report}");
    }
    for figure in ["p50", "p90", "p99", "p999", "max", "mean"] {
        assert!(report["lookup_ns"][figure].is_number(), "lookup_ns.{figure}");
    }
    for figure in ["p50", "p99", "max"] {
        assert!(report["staleness_us"][figure].is_number(), "staleness_us.{figure}");
    }
    for field in ["verified", "mismatches"] {
        assert!(report.as_object().is_some_and(|fields| fields.contains_key(field)));
        assert!(report[field].is_null(), "nothing was verified");
    }
    assert!(!cfg!(target_os = "linux") || count(&report, "peak_rss_bytes") > 0);
}

#[test]
fn the_seed_decides_the_counts() {
    let counts = |seed| {
        let report = report(&[&SMALL[..], &["--seed", seed]].concat());
        ["query_blocks", "matched_blocks", "best_matched_blocks", "stored_blocks", "removed_blocks", "events"]
            .map(|field| count(&report, field))
    };
    assert_eq!(counts("7"), counts("7"));
    assert_ne!(counts("7"), counts("8"));
}

#[test]
fn shards_do_not_change_the_answers() {
    let counts = |shards| {
        let report = report(&[&SMALL[..], &["--verify", "--shards", shards]].concat());
        ["mismatches", "matched_blocks", "best_matched_blocks"].map(|field| count(&report, field))
    };
    assert_eq!(counts("1"), counts("3"));
    assert_eq!(counts("3")[0], 0);
}

#[test]
fn a_trace_is_played_plain_and_gzipped() {
    let scratch = Scratch::new("trace");
    for path in [scratch.file("t.jsonl", ROWS.as_bytes()), scratch.file("t.jsonl.gz", gzip(ROWS))] {
        let report = report(&["--trace", &path, "--workers", "1", "--block-size", "256", "--verify"]);
        assert_eq!(count(&report, "mismatches"), 0);
        assert_eq!(count(&report, "requests"), 3);
        // Prompts of 1500, 1100 and 512 tokens fill 5, 4 and 2 blocks, and the second shares all 4 with the first. The
        // first answer fills the block that its prompt began, and the second answer fills two blocks.
        assert_eq!(count(&report, "query_blocks"), 11);
        assert_eq!(count(&report, "matched_blocks"), 4);
        assert_eq!(count(&report, "stored_blocks"), (5 + 1) + 2 + 2);
    }
    let report = report(&["--trace", &scratch.path("t.jsonl"), "--workers", "1", "--requests", "1"]);
    assert_eq!(count(&report, "requests"), 1);
}

#[test]
fn without_json_the_report_is_text() {
    let output = replay(&[&SMALL[..], &["--verify"]].concat());
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.contains("80 answers, 0 wrong"), "{text}");
    assert!(!text.contains('\u{1b}'), "no colours without a terminal");
    assert!(output.stderr.is_empty(), "no progress bar without a terminal");
}

#[test]
fn what_did_not_happen_has_no_figure() {
    let scratch = Scratch::new("nothing");
    let trace =
        scratch.file("t.jsonl", r#"{"timestamp": 0, "input_length": 100, "output_length": 1, "hash_ids": [0]}"#);
    let options = ["--trace", &trace, "--workers", "1", "--verify"];
    let nothing = report(&options);
    for count in ["query_blocks", "matched_blocks", "events", "stored_blocks", "held_blocks", "cut_requests"] {
        assert_eq!(nothing[count], 0, "no prompt has a full block: {count}");
    }
    for figure in ["hit_rate", "apply_ns_per_block", "events_per_second", "staleness_us", "bytes_per_held_block"] {
        assert!(nothing[figure].is_null(), "{figure}: {nothing}");
    }
    let text = String::from_utf8(replay(&options).stdout).expect("text");
    for part in ["apply               - per block, - events/s", "- bytes per held block", " -  on the worker that held"]
    {
        assert!(text.contains(part), "{text}");
    }
    assert!(!text.contains("NaN") && !text.contains("0.0%"), "{text}");
}

#[test]
fn requests_that_do_not_fit_a_worker_are_counted() {
    let scratch = Scratch::new("cut");
    let trace = scratch.file("t.jsonl", ROWS);
    let options = ["--trace", &trace, "--workers", "1", "--block-size", "512", "--blocks", "3"];
    // 1500 + 40 and 1100 + 600 tokens do not fit into 1536, and 512 + 1 do.
    assert_eq!(count(&report(&options), "cut_requests"), 2);
    assert!(String::from_utf8_lossy(&replay(&options).stdout).contains("2 requests, which do not fit"));
    assert_eq!(count(&report(&[&options[..6], &["--blocks", "4"]].concat()), "cut_requests"), 0);
}

#[test]
fn the_oracle_agrees_with_a_record() {
    let oracle = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/check/oracle.py");
    let scratch = Scratch::new("oracle");
    for name in ["record.jsonl", "record.jsonl.gz"] {
        let path = scratch.path(name);
        report(&[&SMALL[..], &["--record", &path]].concat());
        assert!(File::open(&path).is_ok());
        if !oracle.exists() || Command::new("python3").arg("--version").output().is_err() {
            // Write to stderr directly, because the test harness hides what a passing test prints.
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED the oracle's check of {name}: no {}, or no python3",
                oracle.display()
            );
            continue;
        }
        let output = Command::new("python3").arg(&oracle).arg(&path).output().expect("python3 runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(String::from_utf8_lossy(&output.stdout).contains("queries 80, wrong 0"));
    }
    let mut names = scratch.names();
    names.sort();
    assert_eq!(names, ["record.jsonl", "record.jsonl.gz"], "no other file is left");
}

#[test]
fn options_out_of_range_are_refused() {
    let scratch = Scratch::new("options");
    let trace = scratch.file("t.jsonl", ROWS.as_bytes());
    // With a short trace, a mistake in a case costs little time.
    let refusal = |args: &[&str]| refusal(&[&["--trace", &trace], args].concat());
    let zeros = ["--workers", "--blocks", "--block-size", "--trace-block-size", "--shards", "--requests"];
    for option in zeros {
        let text = refusal(&[option, "0"]);
        assert!(text.contains(&option[2..]), "{text}");
    }
    assert!(refusal(&["--workers", "2000000"]).contains("at most 1048576"));
    assert!(refusal(&["--workers=-1"]).contains("--workers"));
    assert!(refusal(&["--workers", "many"]).contains("--workers"));
    assert!(refusal(&["--pin", "4000000"]).contains("core 4000000"));
    assert!(refusal(&["--assign", "worst"]).contains("round-robin"));
    assert!(refusal(&["--no-such-option"]).contains("--no-such-option"));
    let text = refusal(&["--block-size", "100"]);
    assert!(text.contains("100") && text.contains("512"), "{text}");
}

#[test]
fn a_bad_trace_is_refused_by_file_line_and_reason() {
    let scratch = Scratch::new("bad-trace");
    let mut truncated = gzip(ROWS);
    truncated.truncate(truncated.len() - 12);
    let broken = ROWS.replacen("[0, 1, 3]", "[0, 1", 1);
    let negative = ROWS.replacen("1100", "-1100", 1);
    let few = ROWS.replacen("[0, 1, 3]", "[0]", 1);
    let cases: [(&str, &[u8], &str); 6] = [
        ("broken.jsonl", broken.as_bytes(), "broken.jsonl:2"),
        ("negative.jsonl", negative.as_bytes(), "negative.jsonl:2"),
        ("few.jsonl", few.as_bytes(), "few.jsonl:2"),
        ("binary.jsonl", &[0xff, 0xfe, 0, 10], "binary.jsonl:1"),
        ("empty.jsonl", b"", "empty.jsonl"),
        ("truncated.jsonl.gz", &truncated, "truncated.jsonl.gz"),
    ];
    let record = scratch.path("record.jsonl");
    for (name, bytes, place) in cases {
        let trace = scratch.file(name, bytes);
        let text = refusal(&["--trace", &trace, "--record", &record, "--json"]);
        assert!(text.contains(place), "{name}: {text}");
        assert!(text.trim_end().len() > trace.len() + 20, "the reason is missing: {text}");
    }
    assert!(refusal(&["--trace", &scratch.path("missing.jsonl")]).contains("missing.jsonl"));
    assert!(refusal(&["--trace", scratch.path("").as_str()]).contains("error"));
    assert!(!scratch.names().iter().any(|name| name.starts_with("record")), "{:?}", scratch.names());
}

#[test]
fn a_record_that_cannot_be_written_is_refused() {
    let scratch = Scratch::new("bad-record");
    let refusal = |record: &str| refusal(&[&SMALL[..], &["--record", record]].concat());
    assert!(refusal(&scratch.path("missing/record.jsonl")).contains("missing/record.jsonl"));
    assert!(refusal(&scratch.path("")).contains("record"), "the path is a directory");
    assert_eq!(scratch.names(), [""; 0]);
}

#[cfg(unix)]
#[test]
fn a_record_replaces_only_a_regular_file() {
    let scratch = Scratch::new("socket");
    let path = scratch.path("socket");
    let _socket = std::os::unix::net::UnixListener::bind(&path).expect("a socket, standing for any device");
    assert!(refusal(&[&SMALL[..], &["--record", &path]].concat()).contains("something other than a file"));
    assert_eq!(scratch.names(), ["socket"]);
}

#[test]
fn replay_takes_a_trace_without_its_option_and_other_commands_suggest_the_option() {
    let scratch = Scratch::new("positional");
    let trace = scratch.file("t.jsonl", ROWS.as_bytes());
    let small = ["--workers", "1", "--block-size", "256"];
    assert_eq!(count(&report(&[&[&*trace][..], &small].concat()), "requests"), 3);
    refusal(&[&trace, "--trace", &trace]);
    for (command, option) in
        [("sweep", "--trace"), ("simulate", "--trace"), ("figures", "--trace"), ("serve", "--config")]
    {
        let output = kvleap(&[command, &trace]);
        let text = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(&format!("use '{option} {trace}'")), "{command}: {text}");
    }
}

#[test]
fn equal_options_have_equal_names_in_all_commands() {
    for command in COMMANDS {
        let help = kvleap(&[&command.split(' ').collect::<Vec<_>>()[..], &["--help"]].concat());
        let help = String::from_utf8(help.stdout).expect("text");
        assert!(help.contains("Examples:") && help.contains("Exit codes:"), "{command}: {help}");
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{command}: {help}");
        let options = help.lines().filter_map(|line| line.strip_prefix("      --"));
        for option in options {
            let old = ["assign", "plot", "blocks-per-worker", "input-file", "output-file", "num-requests"];
            assert!(!old.iter().any(|old| option.starts_with(old)), "{command}: {option}");
        }
    }
}
