//! Publishers in processes of their own, and ports for them.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::process::{self, Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};

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
