//! A trial: playing a load to one backend at one rate.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::open_loop::{Clock, Idle, Log, Markers, Timed, ask, feed};
use super::threads::cores;
use super::usage::Usage;
use super::{Load, Op, Quantiles, Spec, SweepError, Trial, What};
use crate::baseline::Backend;
use crate::event::Event;

/// The time from starting the threads to the beginning of a trial, by when all of them run.
const LEAD: Duration = Duration::from_millis(20);
/// The time between two checks whether a trial is over.
const WATCH: Duration = Duration::from_millis(1);
/// Markers in a trial, at most, and the nanoseconds between two, at least.
const MARKERS: u64 = 200;
const APART: u64 = 1_000_000;

/// Plays the first operations of `load` and reports how the backend did.
///
/// A trial is given up after [`Trial::GIVE_UP`] windows, or after a tenth of a second if that is longer. Its threads are
/// then left behind, and end after their current operation.
///
/// # Errors
/// [`SweepError::Backend`], [`SweepError::Zero`], and [`SweepError::EmptySchedule`] if there are no operations.
pub fn play(load: Load, spec: &Spec) -> Result<Trial, SweepError> {
    spec.threads.check()?;
    let cores = cores();
    let placement = spec.threads.place(&cores);
    let backend: Arc<dyn Backend> = spec.system.open(&placement.writers)?.into();
    load.warm.into_iter().for_each(|event| backend.apply(event));
    backend.flush();

    let Lanes { queries, events, totals } = Lanes::new(load.ops, spec)?;
    let count = if spec.system.answers() { (spec.window_ns / APART).clamp(1, MARKERS) } else { 0 };
    let markers = Arc::new(Markers::new(count as usize, spec.window_ns));
    let clock = Arc::new(Clock::new(LEAD));
    let query_logs: Vec<Arc<Log>> = queries.iter().map(|queries| Log::new(queries.len())).collect();
    let event_logs: Vec<Arc<Log>> = events.iter().map(|_| Log::new(0)).collect();

    let mut askers = Vec::new();
    let idle = if placement.shared { Idle::Sleep } else { Idle::Spin };
    for (number, ((queries, log), core)) in queries.into_iter().zip(&query_logs).zip(placement.query).enumerate() {
        let (backend, clock, log) = (Arc::clone(&backend), Arc::clone(&clock), Arc::clone(log));
        let markers = (number == 0 && count > 0).then(|| Arc::clone(&markers));
        askers.push(start(core, move || ask(&*backend, &queries, (&clock, idle), &log, markers.as_deref()))?);
    }
    let mut feeders = Vec::new();
    for ((mut events, log), core) in events.into_iter().zip(&event_logs).zip(placement.event) {
        if feeders.is_empty() && count > 0 {
            events.extend(markers.events());
            events.sort_by_key(|&(deadline, _)| deadline);
        }
        let (backend, clock, log) = (Arc::clone(&backend), Arc::clone(&clock), Arc::clone(log));
        let markers = Arc::clone(&markers);
        feeders.push(start(core, move || feed(&*backend, events, &clock, &log, &markers))?);
    }
    let flusher = {
        let (backend, clock) = (Arc::clone(&backend), Arc::clone(&clock));
        start(None, move || {
            feeders.into_iter().for_each(joined);
            backend.flush();
            clock.now()
        })?
    };

    clock.sleep_until(0);
    let usage = Usage::now(&cores);
    let left_in_queue = watch(&*backend, &clock, spec, &event_logs, totals.events);
    let over = || flusher.is_finished() && askers.iter().all(JoinHandle::is_finished);
    let limit = ((spec.window_ns as f64 * Trial::GIVE_UP) as u64).max(100_000_000);
    while !over() && clock.now() < limit {
        thread::sleep(WATCH);
    }
    let given_up = !over();
    let ended = clock.now();
    clock.stop();
    let others = usage.zip(Usage::now(&cores)).map(|(begin, end)| begin.others(&end));
    let drained = if given_up { None } else { Some(joined(flusher)) };
    if !given_up {
        askers.into_iter().for_each(joined);
    }
    let rejected = (!given_up).then(|| backend.rejected());
    let seen = Seen { ended, drained, waiting: if given_up { backend.queued() as u64 } else { 0 }, left_in_queue };
    let staleness = Quantiles::new(markers.ages(ended), 1e3);
    Ok(summary(spec, &totals, &seen, &query_logs, &event_logs, (staleness, rejected, others)))
}

/// The operations of every thread with their deadlines. Lookups go to the query threads in turn; the events of a worker
/// all go to one event thread, in order.
struct Lanes {
    queries: Vec<Vec<Timed<Box<[u64]>>>>,
    events: Vec<Vec<Timed<Event>>>,
    totals: Totals,
}

struct Totals {
    operations: u64,
    events: u64,
    event_blocks: u64,
    blocks: u64,
}

impl Lanes {
    fn new(mut ops: Vec<Op>, spec: &Spec) -> Result<Self, SweepError> {
        ops.truncate(spec.operations);
        let end = ops.last().ok_or(SweepError::EmptySchedule)?.at_ns.max(1);
        let scale = spec.window_ns as f64 / end as f64;
        let mut queries: Vec<_> = (0..spec.threads.query).map(|_| Vec::new()).collect();
        let mut events: Vec<_> = (0..spec.threads.event).map(|_| Vec::new()).collect();
        let mut totals = Totals { operations: ops.len() as u64, events: 0, event_blocks: 0, blocks: 0 };
        let mut asked = 0;
        for op in ops {
            let deadline = (op.at_ns as f64 * scale) as u64;
            totals.blocks += op.what.blocks();
            match op.what {
                What::Lookup(query) => {
                    queries[asked % spec.threads.query].push((deadline, query));
                    asked += 1;
                }
                What::Event(event) => {
                    totals.events += 1;
                    totals.event_blocks += event.data.len() as u64;
                    events[event.worker.id as usize % spec.threads.event].push((deadline, event));
                }
            }
        }
        Ok(Self { queries, events, totals })
    }
}

fn start<T: Send + 'static>(
    core: Option<usize>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, SweepError> {
    let pinned = move || {
        if core.is_some_and(|id| !core_affinity::set_for_current(core_affinity::CoreId { id })) {
            tracing::warn!(core, "a thread could not be pinned and runs unpinned");
        }
        work()
    };
    thread::Builder::new().spawn(pinned).map_err(|error| SweepError::Backend(error.to_string()))
}

fn joined<T>(thread: JoinHandle<T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Waits for the end of the window, and returns how many events are not visible then.
fn watch(backend: &dyn Backend, clock: &Clock, spec: &Spec, logs: &[Arc<Log>], events: u64) -> u64 {
    clock.sleep_until(spec.window_ns);
    // Acquire: pairs with `Log::end`. Otherwise an event could be missing here and not be in the queue yet.
    let handed_over: u64 = logs.iter().map(|log| log.ended.load(Acquire)).sum();
    // The queue also holds markers, so it can be longer than all events.
    (events - handed_over + backend.queued() as u64).min(events)
}

/// What the watching thread saw. Times are nanoseconds from the beginning of the window.
struct Seen {
    ended: u64,
    /// When the last event was visible; `None` if the trial was given up before that.
    drained: Option<u64>,
    /// Events that waited when the trial was given up.
    waiting: u64,
    left_in_queue: u64,
}

fn summary(
    spec: &Spec,
    totals: &Totals,
    seen: &Seen,
    query_logs: &[Arc<Log>],
    event_logs: &[Arc<Log>],
    (staleness_us, rejected, others): (Option<Quantiles>, Option<u64>, Option<f64>),
) -> Trial {
    let all = || query_logs.iter().chain(event_logs);
    let latest = |logs: &[Arc<Log>], time: fn(&Log) -> u64| logs.iter().map(|log| time(log)).max().unwrap_or(0);
    let last_begun = |log: &Log| log.last_begun.load(Relaxed);
    let issued_after = latest(query_logs, last_begun).max(latest(event_logs, last_begun));
    let answered = latest(query_logs, |log| log.last_ended.load(Relaxed));
    let done_after = seen.drained.map_or(seen.ended, |drained| drained.max(answered));

    let begun: u64 = all().map(|log| log.begun.load(Relaxed)).sum();
    // Acquire: pairs with `Log::end`, which stores the blocks before.
    let ended: u64 = all().map(|log| log.ended.load(Acquire)).sum();
    let blocks: u64 = all().map(|log| log.blocks.load(Relaxed)).sum();
    // How many blocks the waiting events name is not known: as many as other events, on average.
    let waiting_blocks = seen.waiting as f64 * totals.event_blocks as f64 / totals.events.max(1) as f64;
    let completed = ended.saturating_sub(seen.waiting) as f64;
    let completed_blocks = (blocks as f64 - waiting_blocks).max(0.0);

    let window = spec.window_ns as f64 / 1e9;
    let (issued, done) = (issued_after as f64 / 1e9, done_after as f64 / 1e9);
    // What was over within the first nanosecond took less than one.
    let rate = |number: f64, ns: u64| number * 1e9 / ns.max(1) as f64;
    let times = |of: fn(&Log) -> &[AtomicU64]| {
        Quantiles::new(query_logs.iter().flat_map(|log| log.times(of(log), seen.ended)).collect(), 1.0)
    };
    Trial {
        window,
        operations: totals.operations,
        block_operations: totals.blocks,
        offered_ops: totals.operations as f64 / window,
        offered_block_ops: totals.blocks as f64 / window,
        issued_ops: rate(begun as f64, issued_after),
        achieved_ops: rate(completed, done_after),
        achieved_block_ops: rate(completed_blocks, done_after),
        issued_after: issued,
        done_after: done,
        given_up: seen.drained.is_none(),
        valid: begun == totals.operations && issued <= window * Trial::VALID,
        kept_up: seen.drained.is_some() && done <= window * Trial::KEPT_UP,
        left_in_queue: seen.left_in_queue,
        left_share: seen.left_in_queue as f64 / totals.events.max(1) as f64,
        lookup_ns: times(|log| &log.service),
        response_ns: times(|log| &log.response),
        staleness_us,
        others,
        rejected,
    }
}
