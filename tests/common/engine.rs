//! Processes that tests start and talk to, and free ports for them.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::process::{self, Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};

/// Returns the first of this many consecutive ports that are free at the moment.
///
/// The ports are below 32768, where the system takes those for outgoing connections. Otherwise a listener that
/// reconnects to a killed publisher could be given the publisher's port, and the next publisher would find it in use.
/// Every test process begins at another port and takes the following ones in turn.
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

/// A process that is killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the process can be started");
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        Self { child, stdin, stdout }
    }

    /// Reads the next line of its standard output.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("a line in UTF-8");
        line.trim_end().to_owned()
    }

    pub(crate) fn tell(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().expect("it is piped"), "{line}").expect("the process reads its input");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
