//! Commands that are told to end before they are done: what they leave, and their exit code.
#![cfg(unix)]

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::common::scratch::Scratch;
use crate::common::until::until;

const SIGNALS: [&str; 2] = ["INT", "TERM"];

/// Starts a command in a process group of its own, as a shell does. Its words OUT and IN become the paths of files in
/// the scratch directory.
fn start(scratch: &Scratch, command: &str) -> Child {
    let words = command.split(' ').map(|word| match word {
        "IN" => scratch.path("in"),
        word => word.replace("OUT", &scratch.path("out")),
    });
    let mut command = Command::new(env!("CARGO_BIN_EXE_kvleap"));
    command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.process_group(0).spawn().expect("the command starts")
}

/// Sends a signal to the whole group, as a terminal does.
fn send(signal: &str, child: &Child) {
    let sent =
        Command::new("kill").args(["-s", signal, "--", &format!("-{}", child.id())]).status().expect("kill runs");
    assert!(sent.success());
}

/// Waits for the end of a command that was interrupted, and returns what it has printed on stdout.
fn interrupted(mut child: Child, what: &str) -> String {
    let (mut printed, mut errors) = (String::new(), String::new());
    child.stdout.take().expect("a pipe").read_to_string(&mut printed).expect("text");
    child.stderr.take().expect("a pipe").read_to_string(&mut errors).expect("text");
    assert_eq!(child.wait().expect("it ends").code(), Some(130), "{what}: {errors}");
    assert_eq!(errors, "", "{what}");
    printed
}

#[test]
fn a_command_that_is_writing_a_file_leaves_nothing_of_it() {
    for signal in SIGNALS {
        for command in [
            "trace synthesize --generate rag --requests 1000000000 --out OUT",
            "trace synthesize --generate rag --requests 1000000000 --out OUT.gz",
            "replay --requests 1000000000 --workers 2 --record OUT",
            "replay --requests 1000000000 --workers 2 --record OUT.gz",
        ] {
            let scratch = Scratch::new("interrupt");
            let old = [scratch.file("out", "what was there before"), scratch.file("out.gz", "what was there before")];
            let mut child = start(&scratch, command);
            let written = |name: &String| {
                name.ends_with(".partial") && fs::metadata(scratch.path(name)).is_ok_and(|about| about.len() > 0)
            };
            until("some of the file is written", || {
                assert!(child.try_wait().expect("a state").is_none(), "it ended before the signal");
                scratch.names().iter().any(written)
            });
            send(signal, &child);
            interrupted(child, command);
            assert_eq!(scratch.names(), ["out", "out.gz"], "{signal} {command}");
            for old in old {
                assert_eq!(fs::read_to_string(&old).expect("the old file"), "what was there before");
            }
        }
    }
}

/// The trace is a pipe, so a command that has opened it waits for its rows.
#[test]
fn a_command_that_is_reading_a_trace_leaves_nothing() {
    for signal in SIGNALS {
        for command in [
            "trace convert --from rows IN --out OUT",
            "trace convert --from chats IN --out OUT.gz",
            "trace hash IN --out OUT",
            "trace analyze IN --figure OUT.svg",
            "trace synthesize --trace IN --out OUT",
            "replay --trace IN --record OUT",
            "simulate --trace IN --report OUT --figure OUT.png",
            "sweep --trace IN --out OUT --figure OUT.svg --save-schedule OUT.schedule",
            "figures --only 1 --trace IN --out OUT",
        ] {
            let scratch = Scratch::new("interrupt");
            let pipe = scratch.path("in");
            assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs").success());
            let child = start(&scratch, command);
            // This waits until the command opens the pipe, too.
            let rows = OpenOptions::new().write(true).open(&pipe).expect("the pipe");
            send(signal, &child);
            assert_eq!(interrupted(child, command), "", "{command}");
            drop(rows);
            let left: Vec<String> = scratch.names().into_iter().filter(|name| scratch.0.join(name).is_file()).collect();
            assert_eq!(left, [""; 0], "{signal} {command}");
        }
    }
}

/// Returns the processes that this one has started to play a trial.
#[cfg(target_os = "linux")]
fn trials(parent: u32) -> Vec<String> {
    let processes =
        fs::read_dir("/proc").expect("Linux").filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let of_parent = processes.filter(|process| {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        let command = fs::read_to_string(format!("/proc/{process}/cmdline")).unwrap_or_default();
        status.contains(&format!("\nPPid:\t{parent}\n")) && command.contains("\"Trial\"")
    });
    of_parent.collect()
}

#[cfg(target_os = "linux")]
#[test]
fn an_interrupted_sweep_reports_the_trials_until_then() {
    let options = "--quick --requests 120 --workers 2 --blocks 1200 --runs 1000000 --backends null,kvleap --window 0.2";
    for (signal, shown) in [("INT", "--json"), ("TERM", "--wide")] {
        let scratch = Scratch::new("interrupt");
        let command = format!("sweep {options} {shown} --out OUT --figure OUT.svg");
        let mut child = start(&scratch, &command);
        let (mut seen, mut last) = (HashSet::new(), String::new());
        until("a second trial runs", || {
            assert!(child.try_wait().expect("a state").is_none(), "it ended before the signal");
            last = trials(child.id()).pop().unwrap_or_default();
            seen.insert(last.clone());
            !last.is_empty() && seen.iter().filter(|trial| !trial.is_empty()).count() > 1
        });
        send(signal, &child);
        let printed = interrupted(child, &command);
        until("the trial has ended with it", || !fs::exists(format!("/proc/{last}/stat")).unwrap_or(false));

        let saved: Value = serde_json::from_slice(&fs::read(scratch.path("out")).expect("a report")).expect("JSON");
        assert_eq!(saved["interrupted"], true);
        let [null] = saved["backends"].as_array().expect("a list").as_slice() else { panic!("one backend: {saved}") };
        assert_eq!((&null["name"], &null["interrupted"]), (&"null".into(), &true.into()));
        assert!(null["threshold_block_ops_per_s"].is_null());
        assert!(!null["trials"].as_array().expect("a list").is_empty());
        assert!(fs::read_to_string(scratch.path("out.svg")).expect("a chart").contains("interrupted"));
        assert_eq!(scratch.names(), ["out", "out.svg"]);
        match shown {
            "--json" => assert_eq!(serde_json::from_str::<Value>(&printed).expect("JSON"), saved),
            _ => assert!(printed.contains("interrupted: ") && printed.contains("not found"), "{printed}"),
        }
    }
}
