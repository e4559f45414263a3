//! `kvleap serve` in a process of its own, and what it logs.

use std::env;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use serde_json::Value;

/// A running service that is killed when it is dropped.
pub(crate) struct Serve {
    child: Child,
    log: Receiver<Value>,
    pub(crate) url: String,
}

/// Returns the command that runs `kvleap serve` on a free port, with a log in JSON.
pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kvleap"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--log", "json"]).args(args).stderr(Stdio::piped());
    // Settings in the environment of whoever runs the tests must not change them.
    for (name, _) in env::vars().filter(|(name, _)| name.starts_with("KVLEAP_")) {
        command.env_remove(name);
    }
    command
}

impl Serve {
    /// Starts a service that writes its snapshot to this path every second, and waits until it listens.
    pub(crate) fn start(snapshot: &str, more: &[&str]) -> Self {
        let mut command = command(&["--snapshot", snapshot, "--snapshot-seconds", "1"]);
        let mut child = command.args(more).spawn().expect("it runs");
        let lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let (lines_read, log) = channel();
        // Read the log to its end, so that the service never blocks on a full pipe.
        thread::spawn(move || {
            for line in lines {
                let line = line.expect("UTF-8");
                // The test may have dropped the receiver.
                let _ = lines_read.send(serde_json::from_str(&line).unwrap_or(Value::String(line)));
            }
        });
        let mut service = Self { child, log, url: String::new() };
        let listening = service.logged("listening");
        service.url = format!("http://{}", listening["address"].as_str().expect("an address"));
        service
    }

    /// Waits for this message in the log. No message before it may be an error.
    pub(crate) fn logged(&self, message: &str) -> Value {
        loop {
            let line = self.log.recv().expect("it runs");
            assert_ne!(line["level"], "ERROR", "{line}");
            if line["fields"]["message"] == message {
                return line["fields"].clone();
            }
        }
    }

    /// Drops what was logged so far.
    pub(crate) fn forget_log(&self) {
        while self.log.try_recv().is_ok() {}
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it was killed");
    }

    pub(crate) fn terminate(mut self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().expect("kill runs").success());
        assert_eq!(self.child.wait().expect("it ends").code(), Some(0));
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
