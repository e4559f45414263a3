//! Publishers in processes of their own, and waiting for what becomes of what they say.
#![allow(dead_code, reason = "every test binary uses its own part")]

use std::env;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{self, Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// How long anything may take that happens in the end.
const DEADLINE: Duration = Duration::from_secs(60);

/// Waits until `done`; other processes are involved, so nobody tells.
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < DEADLINE, "still not: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A port that was free just now.
pub(crate) fn free_port() -> u16 {
    free_ports(1)
}

/// The first of so many consecutive ports that were free just now.
///
/// None that the system gives out to outgoing connections, from 32768 on: one that looks for a publisher that was killed
/// may take its port, and the next publisher finds it in use. Every process begins elsewhere, and none is given twice.
pub(crate) fn free_ports(count: u16) -> u16 {
    const PORTS: std::ops::Range<u16> = 20_000..32_000;
    static NEXT: LazyLock<AtomicU16> =
        LazyLock::new(|| AtomicU16::new(PORTS.start + (process::id() % u32::from(PORTS.end - PORTS.start)) as u16));
    loop {
        let first = NEXT.fetch_add(count, Ordering::Relaxed);
        let end = first.saturating_add(count);
        if end > PORTS.end {
            NEXT.store(PORTS.start, Ordering::Relaxed);
        } else if (first..end).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return first;
        }
    }
}

/// A process, killed at the end.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the publisher can be started");
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        Self { child, stdin, stdout }
    }

    /// The next line on its stdout.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("a line in UTF-8");
        line.trim_end().to_owned()
    }

    pub(crate) fn tell(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().expect("it is piped"), "{line}").expect("the publisher listens");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where `.ci/engines.py` left its things; where they are absent, says so and is `None`.
pub(crate) fn fetched() -> Option<PathBuf> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let cache = env::var_os("KVLEAP_ENGINES").map_or_else(|| home.join("target/engines"), PathBuf::from);
    if cache.join("ready").exists() {
        return Some(cache);
    }
    // Past the harness, which shows what a passing test prints to nobody.
    writeln!(std::io::stderr(), "SKIPPED: run .ci/engines.py to fetch {}", cache.display()).expect("stderr is open");
    None
}
