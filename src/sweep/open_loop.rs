//! The threads of a trial, which play a load at its deadlines.
//!
//! They form an open loop: every operation has an absolute deadline that is set before anything runs. A thread that is
//! late neither waits nor skips an operation, and its lateness counts. Threads own what they hand over, so that nothing
//! is copied during the trial.
//!
//! *Markers* measure how old answers are: now and then an event thread stores a block that only the first query thread
//! looks for, between its lookups, until it finds it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use std::thread;
use std::time::{Duration, Instant};

use crate::baseline::{Backend, Reader};
use crate::event::{Block, Event, EventData, Worker};
use crate::hash::hash_pair;

/// The worker that stores markers.
const MARKER_WORKER: Worker = Worker::new(u64::MAX, 0);
/// Makes the hashes of markers different from all others.
const MARKER: u64 = 0x4D4B;
/// The nanoseconds between two looks for a marker, or, if that is more, this fraction of its age so far. Staleness is
/// measured no more precisely. A thread that looked all the time would keep a core busy, and might delay the very event
/// that it waits for.
const LOOK: u64 = 5_000;
const LOOK_PART: u64 = 16;
/// The last nanoseconds of a wait, in which a thread with a core of its own spins: the system wakes threads up late.
const SPIN: u64 = 100_000;
/// The time of something that has not happened.
const NEVER: u64 = u64::MAX;

/// A lookup or an event with its deadline, in nanoseconds from the beginning.
pub(super) type Timed<T> = (u64, T);

/// The clock that all threads of a trial share. It counts nanoseconds from the beginning of the window.
#[derive(Debug)]
pub(super) struct Clock {
    begin: Instant,
    stop: AtomicBool,
}

impl Clock {
    /// Creates a clock that begins `lead` from now, when all threads are ready.
    pub(super) fn new(lead: Duration) -> Self {
        Self { begin: Instant::now() + lead, stop: AtomicBool::new(false) }
    }

    /// Returns the time; 0 before the beginning.
    pub(super) fn now(&self) -> u64 {
        Instant::now().saturating_duration_since(self.begin).as_nanos() as u64
    }

    /// Sleeps until `time`.
    pub(super) fn sleep_until(&self, time: u64) {
        let then = self.begin + Duration::from_nanos(time);
        thread::sleep(then.saturating_duration_since(Instant::now()));
    }

    /// Tells every thread to end after its current operation.
    pub(super) fn stop(&self) {
        self.stop.store(true, Relaxed);
    }

    fn stopped(&self) -> bool {
        self.stop.load(Relaxed)
    }

    /// Waits for `deadline` and returns the time. Meanwhile it calls `meanwhile` with the time, which returns when it
    /// wants to be called again.
    fn wait(&self, deadline: u64, idle: Idle, mut meanwhile: impl FnMut(u64) -> u64) -> u64 {
        self.sleep_until(0);
        loop {
            let now = self.now();
            if now >= deadline || self.stopped() {
                return now;
            }
            let left = deadline.min(meanwhile(now)).saturating_sub(now);
            match idle {
                Idle::Spin if left <= SPIN => std::hint::spin_loop(),
                Idle::Spin => thread::sleep(Duration::from_nanos(left - SPIN)),
                Idle::Sleep => thread::sleep(Duration::from_nanos(left)),
            }
        }
    }
}

/// How a thread waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Idle {
    /// Keeps a core busy, and is on time to a fraction of a microsecond.
    Spin,
    /// Leaves the core to others, above all to the thread that applies its events, and is some tens of microseconds late.
    Sleep,
}

/// What became of one thread's operations. That thread writes it; the watching thread may read it at any time.
///
/// The store of `ended` in [`Log::end`] (release) pairs with the loads of it in [`Log::times`], `watch` and `summary`
/// (acquire): whoever counts an operation as ended then sees its times and its blocks, and finds its event in the
/// backend's queue unless it was taken out. Everything else is Relaxed: it is read after `ended`, or alone.
#[derive(Debug)]
pub(super) struct Log {
    /// Operations that have begun, and that have ended.
    pub(super) begun: AtomicU64,
    pub(super) ended: AtomicU64,
    /// Blocks that the ended operations name.
    pub(super) blocks: AtomicU64,
    /// When the last operation began, and when the last one ended.
    pub(super) last_begun: AtomicU64,
    pub(super) last_ended: AtomicU64,
    /// The nanoseconds of each lookup from call to answer, and from deadline to answer.
    pub(super) service: Box<[AtomicU64]>,
    pub(super) response: Box<[AtomicU64]>,
}

impl Log {
    /// Creates a log with room for the times of `lookups` lookups; event threads need none.
    pub(super) fn new(lookups: usize) -> Arc<Self> {
        // Not zero, so that the system maps the pages now and not in the middle of the trial.
        let room = || (0..lookups).map(|_| AtomicU64::new(NEVER)).collect();
        let zero = AtomicU64::default;
        Arc::new(Self {
            begun: zero(),
            ended: zero(),
            blocks: zero(),
            last_begun: zero(),
            last_ended: zero(),
            service: room(),
            response: room(),
        })
    }

    /// Returns the times in `of`, and for a lookup that has not ended at `now` the time that it has taken so far.
    pub(super) fn times<'a>(&self, of: &'a [AtomicU64], now: u64) -> impl Iterator<Item = u64> + use<'a> {
        // Acquire: pairs with `end`, which stores the times before.
        let pending = self.begun.load(Relaxed) > self.ended.load(Acquire);
        let so_far = pending.then(|| now.saturating_sub(self.last_begun.load(Relaxed)));
        of.iter().map(|time| time.load(Relaxed)).filter(|&time| time != NEVER).chain(so_far)
    }

    fn begin(&self, now: u64) {
        self.begun.store(self.begun.load(Relaxed) + 1, Relaxed);
        self.last_begun.store(now, Relaxed);
    }

    fn end(&self, now: u64, blocks: u64) {
        self.blocks.store(self.blocks.load(Relaxed) + blocks, Relaxed);
        self.last_ended.store(now, Relaxed);
        // Release: pairs with the loads by the watching thread.
        self.ended.store(self.ended.load(Relaxed) + 1, Release);
    }
}

/// The markers of a trial: when each was handed over, and how long it took until a lookup found it.
#[derive(Debug)]
pub(super) struct Markers {
    window: u64,
    /// How many have been handed over. The store in [`feed`] (release) pairs with the load in [`MarkerSearch::look`]
    /// (acquire): the query thread, which computes an age from `sent_at`, never sees [`NEVER`] there. Each of `sent_at`
    /// and `ages` is written by one thread, once, and read by the watching thread alone, so Relaxed will do for them.
    sent: AtomicU64,
    sent_at: Box<[AtomicU64]>,
    ages: Box<[AtomicU64]>,
}

impl Markers {
    /// Creates `count` markers, evenly spread over the window.
    pub(super) fn new(count: usize, window: u64) -> Self {
        let room = || (0..count).map(|_| AtomicU64::new(NEVER)).collect();
        Self { window, sent: AtomicU64::new(0), sent_at: room(), ages: room() }
    }

    /// Returns a marker's deadline, in the middle of its part of the window, so that the last one has time to be found;
    /// [`NEVER`] after the last marker.
    fn deadline(&self, number: usize) -> u64 {
        let count = self.ages.len() as u64;
        if number < self.ages.len() { self.window / (2 * count) * (2 * number as u64 + 1) } else { NEVER }
    }

    /// Returns the markers as events with their deadlines.
    pub(super) fn events(&self) -> impl Iterator<Item = Timed<Event>> {
        (0..self.ages.len()).map(|number| {
            let blocks = vec![Block { sequence: number as u64, local: hash_pair(MARKER, number as u64) }];
            let data = EventData::Stored { parent: None, blocks };
            (self.deadline(number), Event { worker: MARKER_WORKER, id: number as u64 + 1, data })
        })
    }

    /// Returns the nanoseconds from handing each marker over to finding it, or to `now` if it was not found.
    pub(super) fn ages(&self, now: u64) -> Vec<u64> {
        let times = self.ages.iter().zip(&self.sent_at).map(|(age, at)| (age.load(Relaxed), at.load(Relaxed)));
        let sent = times.filter(|&(_, at)| at != NEVER);
        sent.map(|(age, at)| if age == NEVER { now.saturating_sub(at) } else { age }).collect()
    }
}

/// Returns whether an event is a marker.
fn is_marker(event: &Event) -> bool {
    event.worker == MARKER_WORKER
}

/// Hands the events over at their deadlines: the work of an event thread.
pub(super) fn feed(backend: &dyn Backend, events: Vec<Timed<Event>>, clock: &Clock, log: &Log, markers: &Markers) {
    for (deadline, event) in events {
        let now = clock.wait(deadline, Idle::Sleep, |_| NEVER);
        if clock.stopped() {
            return;
        }
        if is_marker(&event) {
            let number = event.id;
            markers.sent_at[number as usize - 1].store(now, Relaxed);
            backend.apply(event);
            // Release: pairs with the load in `MarkerSearch::look`, for `sent_at`.
            markers.sent.store(number, Release);
        } else {
            let blocks = event.data.len() as u64;
            log.begin(now);
            backend.apply(event);
            log.end(clock.now(), blocks);
        }
    }
}

/// Looks up at the deadlines, and looks for markers in between, if there are any: the work of a query thread.
pub(super) fn ask(
    backend: &dyn Backend,
    queries: &[Timed<Box<[u64]>>],
    (clock, idle): (&Clock, Idle),
    log: &Log,
    markers: Option<&Markers>,
) {
    let mut reader = backend.reader();
    let mut scores = Vec::new();
    let mut search = markers.map(|markers| MarkerSearch { markers, found: 0, next: 0, scores: Vec::new() });
    let mut look =
        |now, reader: &mut dyn Reader| search.as_mut().map_or(NEVER, |search| search.look(reader, clock, now));
    for (number, (deadline, query)) in queries.iter().enumerate() {
        // Once before every lookup: a thread that is late does not wait, and would never look otherwise.
        look(clock.now(), &mut *reader);
        let now = clock.wait(*deadline, idle, |now| look(now, &mut *reader));
        if clock.stopped() {
            return;
        }
        log.begin(now);
        // As late as possible, since reading the clock counts as part of the lookup.
        let start = Instant::now();
        reader.find(query, &mut scores);
        let took = start.elapsed().as_nanos() as u64;
        let ended = clock.now();
        log.service[number].store(took, Relaxed);
        log.response[number].store(ended - deadline, Relaxed);
        log.end(ended, query.len() as u64);
    }
    // The last markers may not be visible yet.
    while !clock.stopped() {
        let next = look(clock.now(), &mut *reader);
        if next == NEVER {
            return;
        }
        clock.wait(next, idle, |_| NEVER);
    }
}

/// Looks for markers in the order in which they are handed over.
struct MarkerSearch<'a> {
    markers: &'a Markers,
    found: usize,
    next: u64,
    scores: Vec<(Worker, u32)>,
}

impl MarkerSearch<'_> {
    /// Looks for the next marker, if it has been handed over and the last look is long enough ago. Returns when to look
    /// again; [`NEVER`] when all have been found.
    fn look(&mut self, reader: &mut dyn Reader, clock: &Clock, now: u64) -> u64 {
        let deadline = self.markers.deadline(self.found);
        if deadline == NEVER || now < deadline.max(self.next) {
            return deadline.max(self.next);
        }
        // Acquire: pairs with the store in `feed`, for `sent_at`.
        if (self.found as u64) < self.markers.sent.load(Acquire) {
            reader.find(&[hash_pair(MARKER, self.found as u64)], &mut self.scores);
            if self.scores.iter().any(|&(worker, _)| worker == MARKER_WORKER) {
                let age = clock.now() - self.markers.sent_at[self.found].load(Relaxed);
                self.markers.ages[self.found].store(age, Relaxed);
                self.found += 1;
                // The next marker may have been visible for a while: look for it at once.
                return self.markers.deadline(self.found);
            }
        }
        self.next = now + LOOK.max((now - deadline) / LOOK_PART);
        self.next
    }
}
