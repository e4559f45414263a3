//! How many log lines there may be that are like each other.

use std::collections::{HashMap, VecDeque};
use std::fmt::{self, Debug, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kvleap::service::LOG_COUNTS;
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// Lines from one place of the code, about one worker, that are written in a period.
const LINES: u64 = 10;

/// The period, which begins with the first of these lines.
const PERIOD: Duration = Duration::from_secs(60);

/// Places and workers that are told apart at a time. Beyond it, all further workers share the lines of a place.
const WINDOWS: usize = 1024;

/// Characters that are kept of a worker's name, and of a message.
const KEPT: usize = 100;

/// The target of lines that say what was left out. These are not limited: there is one for each window and period.
const REPORT: &str = "kvleap::log::left_out";

/// A place in the code, and the worker that its line is about, if it says so.
type Key = (Identifier, Option<Box<str>>);

/// Bounds how many lines are written that come from one place of the code and are about one worker.
#[derive(Debug, Default)]
pub(super) struct Limits(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    windows: HashMap<Key, Window>,
    /// When windows end, in this order: all last equally long.
    ends: VecDeque<(Instant, Key)>,
}

/// The lines since the period began.
#[derive(Debug)]
struct Window {
    lines: u64,
    level: Level,
    /// The message of the first line.
    message: String,
}

/// What a period left out.
#[derive(Debug, PartialEq)]
struct LeftOut {
    level: Level,
    worker: Option<Box<str>>,
    message: String,
    lines: u64,
}

impl Limits {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a line, and returns whether it may be written.
    fn admits(&self, event: &Event<'_>, now: Instant) -> bool {
        let mut worker = Text { name: "worker", text: None };
        event.record(&mut worker);
        let mut key = (event.metadata().callsite(), worker.text.map(String::into_boxed_str));
        let mut state = self.state();
        if state.windows.len() >= WINDOWS && !state.windows.contains_key(&key) {
            key.1 = None;
        }
        if let Some(window) = state.windows.get_mut(&key) {
            window.lines += 1;
            return window.lines <= LINES;
        }
        let mut message = Text { name: "message", text: None };
        event.record(&mut message);
        let window = Window { lines: 1, level: *event.metadata().level(), message: message.text.unwrap_or_default() };
        state.ends.push_back((now + PERIOD, key.clone()));
        state.windows.insert(key, window);
        true
    }

    /// Returns when the next period ends.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.state().ends.front().map(|&(end, _)| end)
    }

    /// Logs what was left out in the periods that have ended.
    pub(super) fn report(&self, now: Instant) {
        self.ended(Some(now)).into_iter().for_each(LeftOut::log);
    }

    /// Logs what was left out so far, and ends all periods.
    pub(super) fn report_all(&self) {
        self.ended(None).into_iter().for_each(LeftOut::log);
    }

    /// Removes the windows that have ended, or all of them, and returns those that left lines out.
    fn ended(&self, now: Option<Instant>) -> Vec<LeftOut> {
        let mut left_out = Vec::new();
        let mut state = self.state();
        while state.ends.front().is_some_and(|&(end, _)| now.is_none_or(|now| end <= now)) {
            let Some((_, key)) = state.ends.pop_front() else { break };
            let Some(window) = state.windows.remove(&key) else { continue };
            let Window { lines, level, message } = window;
            if lines > LINES {
                left_out.push(LeftOut { level, worker: key.1, message, lines: lines - LINES });
            }
        }
        left_out
    }
}

impl LeftOut {
    fn log(self) {
        let Self { level, worker, message, lines } = self;
        let worker = worker.as_deref().map(tracing::field::display);
        // The level of an event is a constant.
        macro_rules! log {
            ($level:ident) => {
                tracing::$level!(target: REPORT, worker, left_out = lines, "left out lines like this: {message}")
            };
        }
        match level {
            Level::ERROR => log!(error),
            Level::WARN => log!(warn),
            Level::INFO => log!(info),
            Level::DEBUG => log!(debug),
            Level::TRACE => log!(trace),
        }
    }
}

/// One field of an event, cut to a length that can be kept.
struct Text {
    name: &'static str,
    text: Option<String>,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == self.name {
            let mut start = Start(String::new());
            // It fails when there is enough.
            let _ = write!(start, "{value:?}");
            self.text = Some(start.0);
        }
    }
}

/// The first characters of what is written to it.
struct Start(String);

impl Write for Start {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = KEPT - self.0.chars().count();
        self.0.extend(text.chars().take(room));
        if text.chars().count() > room { Err(fmt::Error) } else { Ok(()) }
    }
}

/// Leaves out what is beyond the limits.
pub(super) struct Limit(pub(super) Arc<Limits>);

impl<S: Subscriber> Layer<S> for Limit {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let admitted = event.metadata().target() == REPORT || self.0.admits(event, Instant::now());
        if !admitted {
            LOG_COUNTS.add_left_out();
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    use tracing_subscriber::layer::SubscriberExt;

    /// Asks limits about events, at a time that the test sets.
    #[derive(Clone)]
    struct Clock {
        limits: Arc<Limits>,
        start: Instant,
        seconds: Arc<AtomicU64>,
        admitted: Arc<AtomicU64>,
    }

    impl<S: Subscriber> Layer<S> for Clock {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            if self.limits.admits(event, self.now()) {
                self.admitted.fetch_add(1, Relaxed);
            }
        }
    }

    impl Clock {
        fn new() -> Self {
            let (limits, seconds, admitted) = Default::default();
            Self { limits, start: Instant::now(), seconds, admitted }
        }

        fn now(&self) -> Instant {
            self.start + Duration::from_secs(self.seconds.load(Relaxed))
        }

        /// Returns how many lines of `log` are admitted.
        fn admitted(&self, log: impl FnOnce()) -> u64 {
            let before = self.admitted.load(Relaxed);
            tracing::subscriber::with_default(tracing_subscriber::registry().with(self.clone()), log);
            self.admitted.load(Relaxed) - before
        }

        fn ended(&self) -> Vec<(Option<String>, String, u64)> {
            let ended = self.limits.ended(Some(self.now())).into_iter();
            ended.map(|left_out| (left_out.worker.map(String::from), left_out.message, left_out.lines)).collect()
        }
    }

    fn complain(worker: u64, times: u64) {
        (0..times).for_each(|time| tracing::warn!(%worker, "complaint {time}"));
    }

    #[test]
    fn each_place_and_worker_has_its_lines_and_then_one_for_the_rest() {
        let clock = Clock::new();
        assert_eq!(clock.admitted(|| complain(1, 1000)), LINES);
        assert_eq!(clock.admitted(|| complain(2, LINES)), LINES, "another worker has lines of its own");
        assert_eq!(clock.admitted(|| tracing::warn!(worker = 1, "another place")), 1);
        assert_eq!(clock.admitted(|| tracing::error!("the end")), 1);
        assert_eq!(clock.ended(), [], "the period has not ended");
        clock.seconds.store(PERIOD.as_secs(), Relaxed);
        assert_eq!(clock.ended(), [(Some("1".to_owned()), "complaint 0".to_owned(), 1000 - LINES)]);
        assert_eq!(clock.limits.next_end(), None);
        assert_eq!(clock.admitted(|| complain(1, LINES + 1)), LINES, "a new period begins");
    }

    #[test]
    fn many_workers_take_bounded_memory_and_share_lines() {
        let clock = Clock::new();
        let windows = WINDOWS as u64;
        assert_eq!(clock.admitted(|| (0..3 * windows).for_each(|worker| complain(worker, 1))), windows + LINES);
        assert!(clock.limits.state().windows.len() <= WINDOWS + 1);
        let long = "x".repeat(10_000);
        clock.admitted(|| tracing::warn!("{long}"));
        let state = clock.limits.state();
        assert!(state.windows.values().all(|window| window.message.chars().count() <= KEPT));
    }

    #[test]
    fn what_is_left_out_at_the_end_is_reported() {
        let clock = Clock::new();
        clock.admitted(|| complain(7, LINES + 5));
        let left_out: Vec<_> = clock.limits.ended(None).into_iter().map(|left_out| left_out.lines).collect();
        assert_eq!(left_out, [5]);
    }
}
