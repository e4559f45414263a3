//! `kvleap publish`: which options it refuses, and how it stops.

use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

use kvleap::service::mock_publisher::EngineState;

use crate::common::engine::{Process, free_ports};
use crate::common::scratch::Scratch;

/// Returns the command with free ports of its own.
fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kvleap"));
    let endpoint = || format!("tcp://127.0.0.1:{}", free_ports(1));
    command.args(["publish", "--endpoint", &endpoint(), "--replay-endpoint", &endpoint()]).args(args);
    command
}

#[test]
fn bad_options_are_refused_with_reasons() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = format!("tcp://{}", taken.local_addr().expect("it is bound"));
    let cases: [(&[&str], &str); 7] = [
        (&["--rate", "0"], "rate is 0"),
        (&["--rate", "inf"], "rate is inf"),
        (&["--drop", "1.5"], "drop is 1.5"),
        (&["--ranks", "0"], "ranks is 0"),
        (&["--blocks", "0"], "blocks is 0"),
        (&["--ranks", "65535"], "has no port"),
        (&["--form", "tuple"], "possible values: map, array"),
    ];
    for (args, why) in cases {
        let Output { status, stdout, stderr } = command(args).output().expect("it runs");
        let text = String::from_utf8(stderr).expect("UTF-8");
        assert!(text.contains(why), "{args:?}: {text}");
        assert_eq!((status.code(), &stdout[..]), (Some(2), &b""[..]), "{args:?}");
    }
    let bound = Command::new(env!("CARGO_BIN_EXE_kvleap")).args(["publish", "--endpoint", &taken]).output();
    let Output { status, stderr, .. } = bound.expect("it runs");
    assert_eq!(status.code(), Some(2));
    assert!(String::from_utf8(stderr).expect("UTF-8").contains("cannot be bound"));
}

#[test]
fn it_stops_on_a_signal_and_leaves_its_state() {
    let scratch = Scratch::new("publish");
    let state = scratch.path("state.json");
    let mut command = command(&["--requests", "2", "--rate", "1000", "--block-size", "64", "--state", &state]);
    let mut process = Process::start(command.stderr(Stdio::null()));
    assert_eq!(process.line(), "ready");
    process.tell("something else");
    process.tell("pause");
    assert_eq!(process.line(), "paused");
    let paused = std::fs::read(&state).expect("the state");
    let read: EngineState = serde_json::from_slice(&paused).expect("a state in JSON");
    assert_eq!((read.block_size, read.ranks.len()), (64, 1));
    let id = process.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().expect("kill runs").success());
    assert_eq!(process.child.wait().expect("it ends").code(), Some(0));
    let end: EngineState = serde_json::from_slice(&std::fs::read(&state).expect("the state")).expect("JSON");
    assert_eq!(end.ranks[0].batches, read.ranks[0].batches, "nothing is published after the pause");
    assert_eq!(scratch.names(), ["state.json"]);
}
