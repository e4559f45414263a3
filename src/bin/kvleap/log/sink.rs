//! Where log lines go: into a bounded queue, from which a thread of its own writes them.

use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use kvleap::service::LOG_COUNTS;
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use super::limits::Limits;

/// Bytes of lines that may wait to be written.
pub(super) const ROOM: usize = 1 << 20;

/// How many of these are for errors only.
const FOR_ERRORS: usize = ROOM / 4;

/// How long to wait before writing again to what takes nothing at the moment.
const PAUSE: Duration = Duration::from_millis(10);

/// The queue of lines.
#[derive(Debug, Default)]
pub(super) struct Sink {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The lines that are to be written next. It never ends in the middle of one.
    waiting: Vec<u8>,
    /// Whether lines have been taken out that are not written yet.
    writing: bool,
    ended: bool,
}

impl Sink {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line if it leaves the waiting ones within this many bytes. Otherwise the line is lost.
    pub(super) fn put(&self, line: &[u8], room: usize) {
        let mut state = self.state();
        if state.ended || state.waiting.len() + line.len() > room {
            LOG_COUNTS.add_lost();
            return;
        }
        state.waiting.extend_from_slice(line);
        self.changed.notify_all();
    }

    /// Waits for lines until this time, and takes them all. Returns false when there will be no more.
    fn take(&self, lines: &mut Vec<u8>, until: Option<Instant>) -> bool {
        let mut state = self.state();
        state.writing = false;
        self.changed.notify_all();
        while state.waiting.is_empty() {
            if state.ended {
                return false;
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            state = match left {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => return true,
                Some(left) => self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
        std::mem::swap(&mut state.waiting, lines);
        state.writing = true;
        true
    }

    /// Writes lines until the log ends, and reports what the limits left out.
    pub(super) fn write_to(&self, out: impl Write, limits: &Limits) {
        let mut out = Output { out, within_line: false };
        let mut lines = Vec::new();
        let mut reported = 0;
        while self.take(&mut lines, limits.next_end()) {
            let mut written = false;
            for line in lines.split_inclusive(|&byte| byte == b'\n') {
                written = out.line(line).is_ok();
                if written { LOG_COUNTS.add_written() } else { LOG_COUNTS.add_lost() }
            }
            lines.clear();
            limits.report(Instant::now());
            let lost = LOG_COUNTS.lost();
            if written && lost > reported {
                reported = lost;
                tracing::warn!(lost, "log lines were lost: standard error could not be written, or not fast enough");
            }
        }
    }

    /// Takes no more lines, and waits until those that are there are written, but no longer than this.
    pub(super) fn end(&self, patience: Duration) {
        let mut state = self.state();
        state.ended = true;
        self.changed.notify_all();
        let busy = |state: &mut State| state.writing || !state.waiting.is_empty();
        drop(self.changed.wait_timeout_while(state, patience, busy));
    }
}

/// Makes a writer for each line.
pub(super) struct Lines(pub(super) Arc<Sink>);

/// Takes one line, which is written to it at once.
pub(super) struct Line<'a> {
    sink: &'a Sink,
    room: usize,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { sink: &self.0, room: ROOM - FOR_ERRORS }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Line<'a> {
        let room = if *metadata.level() == Level::ERROR { ROOM } else { ROOM - FOR_ERRORS };
        Line { sink: &self.0, room }
    }
}

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.sink.put(line, self.room);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What lines are written to.
struct Output<W> {
    out: W,
    /// Whether the last line could be written in part only.
    within_line: bool,
}

impl<W: Write> Output<W> {
    /// Writes a line. If only a part of the line before could be written, that is made a line of its own.
    fn line(&mut self, line: &[u8]) -> io::Result<()> {
        if self.within_line {
            self.bytes(b"\n")?;
        }
        self.bytes(line)
    }

    fn bytes(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while let [_, ..] = bytes {
            match self.out.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.within_line = bytes[count - 1] != b'\n';
                    bytes = &bytes[count..];
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Another process that shares the pipe or terminal may have made it non-blocking.
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(PAUSE),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::captured;
    use super::*;

    /// Takes a few bytes at a time, and fails or is interrupted where it is told to.
    struct Fragile {
        written: Vec<u8>,
        answers: Vec<Result<usize, ErrorKind>>,
    }

    impl Write for Fragile {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = self.answers.pop().unwrap_or(Ok(bytes.len()))?.min(bytes.len());
            self.written.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_that_was_cut_off_does_not_run_into_the_next() {
        let mut answers = vec![Ok(2), Err(ErrorKind::Interrupted), Err(ErrorKind::WouldBlock), Ok(1)];
        answers.extend([Err(ErrorKind::StorageFull), Err(ErrorKind::StorageFull)]);
        answers.reverse();
        let mut out = Output { out: Fragile { written: Vec::new(), answers }, within_line: false };
        let lines = ["first\n", "second\n", "third\n"].map(|line| out.line(line.as_bytes()).is_ok());
        assert_eq!(lines, [false, false, true]);
        assert_eq!(String::from_utf8_lossy(&out.out.written), "fir\nthird\n");
    }

    #[test]
    fn lines_that_find_no_room_are_lost_and_errors_find_more() {
        let sink = Sink::default();
        let line = [b'x'; 1 << 10];
        (0..ROOM / line.len()).for_each(|_| sink.put(&line, ROOM - FOR_ERRORS));
        assert_eq!(sink.state().waiting.len(), ROOM - FOR_ERRORS);
        (0..ROOM / line.len()).for_each(|_| sink.put(&line, ROOM));
        assert_eq!(sink.state().waiting.len(), ROOM);
        // Nobody writes them, and that is not waited for.
        sink.end(Duration::ZERO);
    }

    #[test]
    fn what_could_not_be_written_is_reported_when_something_can_be_again() {
        let sink = Sink::default();
        sink.put(b"first\n", ROOM);
        sink.put(b"second\n", ROOM);
        sink.end(Duration::ZERO);
        let out = Fragile { written: Vec::new(), answers: vec![Err(ErrorKind::StorageFull)] };
        let report = captured(false, || sink.write_to(out, &Limits::default()));
        assert!(report.contains("log lines were lost"), "{report}");
    }
}
