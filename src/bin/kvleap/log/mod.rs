//! The log of `kvleap serve`, on standard error.
//!
//! Whoever logs waits for nobody and never fails: lines go into a bounded queue, and a thread of its own writes them.
//! Lines that find no room or cannot be written are counted. So are lines that are left out because the same place in the
//! code has logged many of them within a minute.

mod limits;
mod sink;
mod text;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal};
use std::panic::{self, PanicHookInfo};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use kvleap::service::LogFormat;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt};

use limits::{Limit, Limits};
use sink::{Lines, Sink};
use text::Text;

/// How long the process waits at its end for the last lines to be written.
const PATIENCE: Duration = Duration::from_secs(1);

/// The log of this process. Dropping it writes what is left; lines that are logged later are lost.
pub(crate) struct Log {
    sink: Arc<Sink>,
    limits: Arc<Limits>,
}

impl Log {
    /// Starts the log. From now on, panics are logged, too.
    pub(crate) fn start(format: LogFormat, filter: EnvFilter) -> io::Result<Self> {
        let (sink, limits) = (Arc::new(Sink::default()), Arc::new(Limits::default()));
        // The limit is a layer and not a filter of one: with those, a line that is left out can mute its whole thread.
        let admitted = tracing_subscriber::registry().with(filter).with(Limit(Arc::clone(&limits)));
        let lines = fmt::layer().with_writer(Lines(Arc::clone(&sink))).log_internal_errors(false);
        match format {
            LogFormat::Text => {
                admitted.with(lines.with_ansi(io::stderr().is_terminal()).fmt_fields(Text)).init();
            }
            LogFormat::Json => admitted.with(lines.json()).init(),
        }
        let log = Self { sink, limits };
        let (sink, limits) = (Arc::clone(&log.sink), Arc::clone(&log.limits));
        thread::Builder::new().name("kvleap-log".to_owned()).spawn(move || sink.write_to(io::stderr(), &limits))?;
        panic::set_hook(Box::new(report));
        Ok(log)
    }

    /// Prints lines as they are, behind what was logged before.
    pub(crate) fn print(&self, lines: &str) {
        self.sink.put(lines.as_bytes(), sink::ROOM);
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.limits.report_all();
        self.sink.end(PATIENCE);
    }
}

/// Logs a panic. The standard library's own report would wait for whoever reads standard error.
fn report(panic: &PanicHookInfo<'_>) {
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let place = panic.location().map(tracing::field::display);
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| tracing::field::display(backtrace));
    tracing::error!(thread = thread::current().name(), place, backtrace, "panicked: {}", text.unwrap_or("no message"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::Mutex;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Returns what is logged, as text.
    pub(super) fn captured(ansi: bool, log: impl FnOnce()) -> String {
        let memory = Memory::default();
        let lines = memory.clone();
        let to = fmt().with_writer(move || lines.clone()).with_ansi(ansi).fmt_fields(Text).without_time();
        tracing::subscriber::with_default(to.finish(), log);
        let bytes = memory.0.lock().expect("no panic").clone();
        String::from_utf8(bytes).expect("UTF-8")
    }

    #[test]
    fn a_panic_is_one_line_of_the_log() {
        let before = panic::take_hook();
        panic::set_hook(Box::new(report));
        let text = captured(false, || {
            panic::catch_unwind(|| panic!("two\nlines")).expect_err("it panics");
        });
        panic::set_hook(before);
        let line = text.lines().find(|line| line.contains("panicked")).expect("it is logged");
        assert!(line.contains("ERROR") && line.contains("panicked: two\\nlines"), "{text}");
        assert!(line.contains("place=src/bin/kvleap/log/mod.rs:"), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }
}
