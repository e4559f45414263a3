//! `kvleap serve`: its settings, how it starts and how it stops.

use std::ffi::OsStr;
use std::fs::Permissions;
use std::io::{BufRead, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};

use crate::common::peer::Hostile;
use crate::common::scratch::Scratch;
use crate::common::until::until;

pub(crate) fn command(args: &[&str]) -> Command {
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
    let address = logged(&mut log, "listening")["fields"]["address"].as_str().expect("an address").to_owned();
    (child, log, format!("http://{address}"))
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

fn signal(child: &Child, name: &str) {
    let id = child.id().to_string();
    assert!(Command::new("kill").args([name, &id]).status().expect("kill runs").success());
}

pub(crate) fn terminate(child: &Child) {
    signal(child, "-TERM");
}

/// Reads the log until it has this message, and returns the line.
fn logged(log: &mut impl BufRead, message: &str) -> Value {
    let mut lines = log.lines().map(|line| serde_json::from_str::<Value>(&line.expect("UTF-8")).unwrap_or_default());
    lines.find(|line| line["fields"]["message"] == message).unwrap_or_else(|| panic!("it did not log {message:?}"))
}

/// Sends the service events of this many blocks with random hashes, which no compression makes short.
fn fill(url: &str, blocks: u64) {
    let mut random = fastrand::Rng::with_seed(blocks);
    let blocks: Vec<_> = (0..blocks).map(|hash| json!({"block_hash": hash, "tokens_hash": random.u64(..)})).collect();
    let data = json!({"stored": {"parent_hash": null, "blocks": blocks}});
    let event = json!({"worker_id": 1, "event": {"event_id": 1, "dp_rank": 0, "data": data}});
    let body = json!({"model_name": "m", "block_size": 16, "events": [event]}).to_string();
    let answer = ureq::post(format!("{url}/events")).header("content-type", "application/json").send(body);
    assert_eq!(answer.expect("it answers").status(), 200);
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
    assert_eq!(ended(&["--example-alerts"]), (0, kvleap::service::ALERTS.to_owned()));
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
    refused(&["--grace-seconds", "9223372036854775807"], "grace_seconds");
    refused(&["--grace-seconds", "18446744073709551615"], "grace_seconds");
    refused(&["--ingest-threads", "100000"], "ingest_threads");
    refused(&["--config", &scratch.file("near.toml", "listen = \"[::1]:0\"\nmax_model = 3\n")], "`max_models`");
    refused(&["--config", &scratch.file("near.toml", "listen = \"[::1]:0\"\nmax_model = 3\n")], "line 2");
    let zeros = scratch.file("zeros", vec![0; 1 << 20]);
    let (_, text) = ended(&["--config", &zeros, "--check-config"]);
    assert!(text.len() < 1500, "{} bytes of message", text.len());
    refused(&["--config", &scratch.file("long", vec![b' '; (16 << 20) + 1])], "longer than");
    refused(&["--admin-token-file", "/dev/zero"], "longer than");
    refused(&["--peer-token-file", &scratch.file("two", "one-token\nanother-token\n")], "more than one");
    let engine = |size: u32| {
        format!(
            "[[engines]]\ninstance_id = {size}\nendpoint = \"tcp://a:1\"\nmodel_name = \"m\"\nblock_size = {size}\n"
        )
    };
    refused(&["--config", &scratch.file("sizes.toml", engine(16) + &engine(32))], "routing group");
}

#[test]
fn variables_that_cannot_be_used_are_refused_by_name() {
    let refused = |name: &str, value: &[u8], why: &str| {
        for args in [&["--check-config"][..], &["--listen", "127.0.0.1:0"]] {
            let output = command(args).env(name, OsStr::from_bytes(value)).output().expect("it runs");
            let text = crate::refusal(&output);
            assert!(text.contains(why) && text.lines().count() == 1, "{text}");
        }
    };
    refused("KVLEAP_MAX_MODEL", b"3", "did you mean `KVLEAP_MAX_MODELS`?");
    refused("KVLEAP_ADMIN_TOKEN", b"\xff\xfe-a-token-of-good-length", "KVLEAP_ADMIN_TOKEN is not UTF-8");
    let mut command = command(&["--check-config"]);
    command.env("KVLEAP_SERVICE_HOST", "10.0.0.1").env("KVLEAP_PORT", "tcp://10.0.0.1:8090");
    assert!(command.output().expect("it runs").status.success(), "Kubernetes sets these");
}

#[test]
fn a_place_where_no_snapshot_can_be_is_refused_and_left_alone() {
    let scratch = Scratch::new("places");
    let directory = scratch.path("directory");
    std::fs::create_dir(&directory).expect("a directory");
    let circle = scratch.path("circle");
    symlink(&circle, &circle).expect("a link");
    let pipe = scratch.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs").success());
    let other = scratch.file("notes", "my notes");
    let nowhere = scratch.path("missing/snapshot");
    let secret = scratch.file("secret", b"kvleap\0I\x02\0\0\0");
    std::fs::set_permissions(&secret, Permissions::from_mode(0o000)).expect("a scratch file");
    let mut places = vec![directory, circle, pipe, other.clone(), nowhere, "/dev/null".to_owned()];
    // For root there is nothing that cannot be read.
    if std::fs::File::open(&secret).is_err() {
        places.push(secret);
    }
    let before = scratch.names();
    for place in places {
        for more in ["--check-config", "--allow-anonymous"] {
            let args = ["--listen", "127.0.0.1:0", "--snapshot", &place, more];
            let text = crate::refusal(&command(&args).output().expect("it runs"));
            assert!(text.contains(&place) && text.lines().count() == 1, "{place}: {text}");
        }
    }
    assert_eq!(scratch.names(), before, "nothing was renamed or made");
    assert_eq!(std::fs::read(other).expect("it is there"), b"my notes");
}

#[test]
fn a_port_that_is_taken_is_refused_in_one_line() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let args = ["--log-filter", "off", "--listen", &address];
    let text = crate::refusal(&command(&args).output().expect("it runs"));
    assert!(text.contains(&address) && text.lines().count() == 1, "{text}");
}

#[test]
fn a_second_process_does_not_write_the_same_snapshot() {
    let scratch = Scratch::new("twice");
    let (snapshot, link) = (scratch.path("snapshot"), scratch.path("link"));
    symlink(&snapshot, &link).expect("a link");
    let (mut child, mut log, _) = start(command(&["--snapshot", &snapshot]));
    for path in [&snapshot, &link] {
        let (code, text) = ended(&["--listen", "127.0.0.1:0", "--log-filter", "off", "--snapshot", path]);
        assert_eq!((code, text.lines().count()), (2, 1), "{text}");
        assert!(text.contains(&format!("process {}", child.id())), "{text}");
        assert_eq!(ended(&["--check-config", "--snapshot", path]).0, 0, "the settings of a running service are good");
    }
    terminate(&child);
    logged(&mut log, "saved a snapshot");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    let (mut child, _log, _) = start(command(&["--snapshot", &link]));
    terminate(&child);
    assert_eq!(child.wait().expect("it ends").code(), Some(0), "the next one may");
    assert_eq!(scratch.names(), ["link", "snapshot", "snapshot.lock"]);
}

#[test]
fn refused_snapshots_do_not_overwrite_each_other_and_are_bounded() {
    let scratch = Scratch::new("refused");
    let snapshot = scratch.path("snapshot");
    for number in 1..=6 {
        scratch.file("snapshot", format!("kvleap\0I\x02\0\0\0damaged {number}"));
        let (mut child, _log, _) = start(command(&["--snapshot", &snapshot]));
        child.kill().expect("it runs");
        child.wait().expect("it was killed");
        let kept = std::fs::read(scratch.path(&format!("snapshot.refused.{number}"))).expect("it is kept");
        assert!(kept.ends_with(format!("damaged {number}").as_bytes()));
    }
    let refused: Vec<_> = scratch.names().into_iter().filter(|name| name.contains("refused")).collect();
    assert_eq!(refused, [3, 4, 5, 6].map(|number| format!("snapshot.refused.{number}")));
}

/// A process that may write short files only fails like one whose disk is full.
#[test]
fn a_last_snapshot_that_fails_is_an_exit_code_and_the_previous_one_stays() {
    let scratch = Scratch::new("full");
    let snapshot = scratch.path("snapshot");
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -f 8 && exec \"$@\"", "sh", env!("CARGO_BIN_EXE_kvleap"), "serve"]);
    limited.args(["--snapshot", &snapshot]);
    let (mut child, mut log, url) = start(limited);
    fill(&url, 10);
    terminate(&child);
    logged(&mut log, "saved a snapshot");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    let before = std::fs::read(&snapshot).expect("it was saved");

    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -f 8 && exec \"$@\"", "sh", env!("CARGO_BIN_EXE_kvleap"), "serve"]);
    limited.args(["--snapshot", &snapshot, "--snapshot-seconds", "1"]);
    let (mut child, mut log, url) = start(limited);
    fill(&url, 10_000);
    let failed = logged(&mut log, "no snapshot was saved");
    assert_eq!(failed["level"], "ERROR", "{failed}");
    let metrics = ureq::get(format!("{url}/metrics")).call().expect("it answers").into_body().read_to_string();
    let metrics = metrics.expect("text");
    let failures = metrics.lines().find_map(|line| line.strip_prefix("kvleap_snapshot_failures_total "));
    assert!(failures.is_some_and(|failures| failures != "0"), "{metrics}");
    terminate(&child);
    assert_eq!(logged(&mut log, "the last snapshot was not saved")["level"], "ERROR");
    assert_eq!(child.wait().expect("it ends").code(), Some(1));
    assert_eq!(std::fs::read(&snapshot).expect("it is still there"), before);
    assert_eq!(scratch.names(), ["snapshot", "snapshot.lock"]);
}

#[test]
fn a_signal_ends_it_while_a_peer_is_copied() {
    for hostile in Hostile::ALL {
        for name in ["-TERM", "-INT"] {
            let (url, requests) = hostile.start();
            let scratch = Scratch::new("copying");
            let snapshot = scratch.path("snapshot");
            let mut command = command(&["--listen", "127.0.0.1:0", "--peers", &url, "--snapshot", &snapshot]);
            let mut child = command.stderr(Stdio::null()).spawn().expect("it runs");
            requests.recv().expect("the peer is asked");
            // It is not ended by a terminal that closes.
            signal(&child, "-HUP");
            signal(&child, name);
            let mut code = None;
            until("it has ended", || {
                code = child.try_wait().expect("it can be waited for");
                code.is_some()
            });
            assert_eq!(code.and_then(|code| code.code()), Some(0), "{hostile:?} {name}");
            assert_eq!(scratch.names(), ["snapshot.lock"], "nothing is half-written");
        }
    }
}

#[test]
fn a_hangup_does_not_end_it() {
    let (mut child, mut log, url) = start(command(&[]));
    for name in ["-HUP", "-USR1", "-USR2"] {
        signal(&child, name);
        logged(&mut log, "ignored: to read settings and files again, restart the service");
    }
    assert_eq!(ureq::get(format!("{url}/health")).call().expect("it answers").status(), 200);
    terminate(&child);
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let (mut child, mut log, url) = start(command(&["--shutdown-seconds", "3600"]));
    let mut half = TcpStream::connect(url.strip_prefix("http://").expect("an address")).expect("it listens");
    half.write_all(b"POST /query HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{").expect("it reads");
    // A later request is answered, so the service has read what there is of the first.
    assert_eq!(ureq::get(format!("{url}/health")).call().expect("it answers").status(), 200);
    terminate(&child);
    logged(&mut log, "ending");
    let mut code = None;
    until("it has ended", || {
        // It may end between the two.
        let _ = Command::new("kill").args(["-TERM", &child.id().to_string()]).stderr(Stdio::null()).status();
        code = child.try_wait().expect("it can be waited for");
        code.is_some()
    });
    assert_eq!(code.and_then(|code| code.code()), Some(1));
    logged(&mut log, "told to end again: ending at once, without a last snapshot");
}

#[cfg(unix)]
#[test]
fn open_files_are_shared_out_and_engines_beyond_them_are_refused() {
    const ENGINES: u64 = 40;
    let mut command = limited(64, 256, &[]);
    command.args(["--listen", "127.0.0.1:0", "--log", "json"]).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it runs");
    let mut log = BufReader::new(child.stderr.take().expect("piped"));
    let files = &logged(&mut log, "open files: the limit, and what it allows")["fields"];
    assert_eq!((&files["limit"], &files["connections"], &files["engines"]), (&json!(256), &json!(80), &json!(ENGINES)));
    let url = format!("http://{}", logged(&mut log, "listening")["fields"]["address"].as_str().expect("an address"));
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
    let clients: Vec<_> = (0..60).map(|_| TcpStream::connect(&at).expect("the system accepts it")).collect();
    let mut lines = 0;
    while logged(&mut log, "a connection could not be accepted; it waits")["fields"]["failures"] != 8 {
        lines += 1;
    }
    assert_eq!(lines, 3, "the first, second and fourth failure");
    drop(clients);
    assert_eq!(ureq::get(format!("{url}/ready")).call().expect("it answers").status(), 200);
    terminate(&child);
    let _ = log.lines().count();
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}
