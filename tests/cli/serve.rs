//! `kvleap serve`: its settings, how it starts and how it stops.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};

use crate::common::scratch::Scratch;

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kvleap"));
    command.arg("serve").args(args);
    // Settings in the environment of whoever runs the tests must not change them.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("KVLEAP_")) {
        command.env_remove(name);
    }
    command
}

/// Runs a command that ends by itself, and returns its exit code and all that it prints.
fn ended(args: &[&str]) -> (i32, String) {
    let Output { status, stdout, stderr } = command(args).output().expect("it runs");
    let text = [stdout, stderr].concat();
    (status.code().expect("not killed"), String::from_utf8(text).expect("UTF-8"))
}

fn example() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/service/config/example.toml").to_str().expect("UTF-8").to_owned()
}

/// Starts a service on a free port, and reads its log until it says which. Returns the process, the rest of the log and
/// the address.
fn start(mut command: Command) -> (Child, BufReader<std::process::ChildStderr>, String) {
    command.args(["--listen", "127.0.0.1:0", "--log", "json"]).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it runs");
    let mut log = BufReader::new(child.stderr.take().expect("piped"));
    let address = logged(&mut log, "listening")["address"].as_str().expect("an address").to_owned();
    (child, log, format!("http://{address}"))
}

/// Reads the log until it has this message, and returns its fields.
fn logged(log: &mut impl BufRead, message: &str) -> Value {
    let entry = log.lines().find_map(|line| {
        let entry: Value = serde_json::from_str(&line.expect("UTF-8")).expect("one JSON object per line");
        (entry["fields"]["message"] == message).then(|| entry["fields"].clone())
    });
    entry.unwrap_or_else(|| panic!("it does not log {message:?}"))
}

/// Returns the command with these limits of open files, the soft and the hard one.
#[cfg(unix)]
fn limited(soft: u32, hard: u32, args: &[&str]) -> Command {
    let inner = command(args);
    let mut outer = Command::new("sh");
    outer.args(["-c", &format!("ulimit -Sn {soft} && ulimit -Hn {hard} && exec \"$0\" \"$@\"")]);
    outer.arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        assert!(value.is_none());
        outer.env_remove(name);
    }
    outer
}

fn terminate(child: &Child) {
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().expect("kill runs").success());
}

#[test]
fn it_serves_until_it_is_told_to_stop() {
    let (mut child, log, url) = start(command(&[]));
    assert_eq!(ureq::get(format!("{url}/health")).call().expect("it answers").status(), 200);
    terminate(&child);
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    let rest: Vec<_> = log.lines().map(|line| line.expect("UTF-8")).collect();
    assert!(rest.iter().any(|line| line.contains("\"ending\"")), "{rest:?}");
}

#[test]
fn tokens_come_from_the_environment_and_are_never_printed() {
    const TOKEN: &str = "a-token-that-nobody-must-see";
    let mut command = command(&["--log-filter", "trace"]);
    command.env("KVLEAP_ADMIN_TOKEN", TOKEN);
    let (mut child, log, url) = start(command);
    let agent = ureq::Agent::new_with_config(ureq::Agent::config_builder().http_status_as_error(false).build());
    let peers = |token: &str| {
        let request = agent.get(format!("{url}/peers")).header("authorization", format!("Bearer {token}"));
        request.call().expect("it answers").status().as_u16()
    };
    assert_eq!((peers(TOKEN), peers("another-one-of-good-length")), (200, 401));
    terminate(&child);
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    assert!(log.lines().all(|line| !line.expect("UTF-8").contains(TOKEN)));
}

#[test]
fn the_example_configuration_is_valid_and_has_all_settings() {
    assert_eq!(ended(&["--config", &example(), "--check-config"]), (0, "the settings are good\n".to_owned()));
    // All settings in the example's comments are known.
    let text = std::fs::read_to_string(example()).expect("the example");
    assert_eq!(ended(&["--example-config"]), (0, text.clone()));
    let setting = |line: &str| {
        line.strip_prefix('#').filter(|rest| !rest.starts_with(' ') && rest.contains(" = ")).map(str::to_owned)
    };
    let on: Vec<String> = text.lines().map(|line| setting(line).unwrap_or_else(|| line.to_owned())).collect();
    let config = kvleap::service::Config::load(&on.join("\n"), &json!({})).expect("known names");
    assert_eq!((config.engines.len(), config.peers.len()), (1, 1));
    let (_, help) = ended(&["--help"]);
    for line in on.iter().take_while(|line| *line != "[[engines]]").filter(|line| !line.starts_with('#')) {
        if let Some((name, _)) = line.split_once(" = ") {
            assert!(help.contains(&format!("--{}", name.replace('_', "-"))), "{name} has no option");
        }
    }
    // The values in the comments are the defaults, except those of settings without one.
    let defaults = on.iter().filter(|line| {
        !["_file = ", "tls_", "peers", "media", "per_address", "allowed_hosts", "snapshot = ", "memory_budget"]
            .iter()
            .any(|of| line.contains(of))
    });
    let defaults: Vec<_> = defaults.map(String::as_str).take_while(|line| *line != "[[engines]]").collect();
    let config = kvleap::service::Config::load(&defaults.join("\n"), &json!({})).expect("known names");
    assert_eq!(config, kvleap::service::Config::default());
}

#[test]
fn bad_settings_are_refused_by_name() {
    let scratch = Scratch::new("settings");
    let file = scratch.file("bad.toml", "[[engines]]\ninstance_id = 1\nendpoint = \"tcp://a:1\"\nmodel_name = \"m\"\nblock_size = 16\nreplay_endpont = \"tcp://a:2\"\n");
    let refused = |args: &[&str], why: &str| {
        for more in [&["--check-config"][..], &[]] {
            let (code, text) = ended(&[args, more].concat());
            assert!(code == 2 && text.contains(why), "{args:?}: {code} {text}");
        }
    };
    refused(&["--config", &file], "replay_endpont");
    refused(&["--config", &scratch.path("nowhere.toml")], "nowhere.toml");
    refused(&["--config", &scratch.file("other.toml", "listen = 3")], "other.toml");
    refused(&["--listen", "0.0.0.0:0"], "nobody would need a token");
    refused(&["--log-filter", "=loud="], "log_filter");
    refused(&["--peers", "nonsense"], "nonsense");
    refused(&["--tls-key", "x"], "belong together");
}

#[cfg(unix)]
#[test]
fn open_files_are_shared_out_and_engines_beyond_them_are_refused() {
    const ENGINES: u64 = 40;
    let mut command = limited(64, 256, &[]);
    command.args(["--listen", "127.0.0.1:0", "--log", "json"]).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it runs");
    let mut log = BufReader::new(child.stderr.take().expect("piped"));
    let files = logged(&mut log, "open files: the limit, and what it allows");
    assert_eq!((&files["limit"], &files["connections"], &files["engines"]), (&json!(256), &json!(80), &json!(ENGINES)));
    let url = format!("http://{}", logged(&mut log, "listening")["address"].as_str().expect("an address"));
    let agent = ureq::Agent::new_with_config(ureq::Agent::config_builder().http_status_as_error(false).build());
    let post = |path: &str, body: &Value| {
        let answer = agent.post(format!("{url}{path}")).send(body.to_string()).expect("it answers");
        (answer.status().as_u16(), answer.into_body().read_to_string().expect("text"))
    };
    let engine = |instance: u64| json!({"instance_id": instance, "model_name": "m", "block_size": 16, "endpoint": "tcp://127.0.0.1:9"});
    for instance in 1..=ENGINES {
        assert_eq!(post("/register", &engine(instance)).0, 201, "engine {instance}");
    }
    let (status, why) = post("/register", &engine(ENGINES + 1));
    assert!(status == 507 && why.contains("ulimit -n"), "{status} {why}");
    assert_eq!(post("/register", &engine(1)).0, 201, "it is registered already");
    // An engine that leaves makes room.
    assert_eq!(post("/unregister", &json!({"instance_id": 1, "model_name": "m"})).0, 200);
    assert_eq!(post("/register", &engine(ENGINES + 1)).0, 201);
    assert_eq!(agent.get(format!("{url}/ready")).call().expect("it answers").status(), 200);
    terminate(&child);
    // Read to the end, so that it never waits for a full pipe.
    let _ = log.lines().count();
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

#[cfg(unix)]
#[test]
fn connections_that_cannot_be_accepted_wait_and_do_not_fill_the_log() {
    let (mut child, mut log, url) = start(limited(40, 40, &[]));
    let at = url.trim_start_matches("http://").to_owned();
    // More than there are files for.
    let clients: Vec<_> = (0..60).map(|_| std::net::TcpStream::connect(&at).expect("the system accepts it")).collect();
    let mut lines = 0;
    while logged(&mut log, "a connection could not be accepted; it waits")["failures"] != 8 {
        lines += 1;
    }
    assert_eq!(lines, 3, "the first, second and fourth failure");
    drop(clients);
    assert_eq!(ureq::get(format!("{url}/ready")).call().expect("it answers").status(), 200);
    terminate(&child);
    let _ = log.lines().count();
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}
