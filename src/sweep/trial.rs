//! One trial: one backend, one rate.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::others::Usage;
use super::player::{Clock, Idle, Log, Markers, Timed, ask, feed};
use super::threads::cores;
use super::{Load, SweepError, System, Threads, What};
use crate::Event;
use crate::baseline::Backend;

/// What to play, on what.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Spec {
    /// The backend.
    pub system: System,
    /// The threads.
    pub threads: Threads,
    /// How many operations of the load.
    pub operations: usize,
    /// In how many nanoseconds. The load's times are scaled so that the last deadline is the window's end.
    pub window_ns: u64,
}

/// What came of it. Rates are per second; times are counted from the window's beginning.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Trial {
    /// Seconds in which everything was to be issued.
    pub window: f64,
    /// Operations to be issued: lookups and events.
    pub operations: u64,
    /// Blocks that they name: of queries, stored and removed.
    pub block_operations: u64,
    /// Operations by the window.
    pub offered_ops: f64,
    /// Block operations by the window.
    pub offered_block_ops: f64,
    /// Operations issued, by the time of the last one.
    pub issued_ops: f64,
    /// Operations completed by the time of the last completion: lookups answered and events visible.
    pub achieved_ops: f64,
    /// Block operations likewise.
    pub achieved_block_ops: f64,
    /// Seconds until the last operation was issued.
    pub issued_after: f64,
    /// Seconds until everything was completed, queues drained; or until the trial was given up.
    pub done_after: f64,
    /// Whether it took too long and was given up. What is achieved is then estimated from how many events wait.
    pub given_up: bool,
    /// Whether the last operation was issued within 1.01 windows.
    pub valid: bool,
    /// Whether everything was completed within 1.10 windows.
    pub kept_up: bool,
    /// Events not visible at the end of the window: queued, or not handed over yet.
    pub left_in_queue: u64,
    /// Their share of all events, 0 to 1.
    pub left_share: f64,
    /// Lookups, from call to answer.
    pub lookup_ns: Quantiles,
    /// Lookups, from deadline to answer: with the wait for lookups before.
    pub response_ns: Quantiles,
    /// Events, from hand-over to visibility, by markers; `None` where nothing is ever seen.
    pub staleness_us: Option<Quantiles>,
    /// The share of the cores' time that other processes took meanwhile, 0 to 1; `None` where the system does not tell.
    pub others: Option<f64>,
    /// Events that the backend rejected, of the load and before; unknown where the trial was given up.
    pub rejected: Option<u64>,
}

/// Exact quantiles, by nearest rank.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// How many values there were.
    pub count: u64,
    /// Half are no larger.
    pub p50: f64,
    /// 99% are no larger.
    pub p99: f64,
    /// 99.9% are no larger.
    pub p999: f64,
    /// The largest.
    pub max: f64,
}

impl Quantiles {
    /// Of values in some unit, given as so many of its parts.
    pub(super) fn new(mut values: Vec<u64>, parts: f64) -> Self {
        values.sort_unstable();
        let at = |quantile: f64| {
            let rank = (quantile * values.len() as f64).ceil() as usize;
            values.get(rank.saturating_sub(1)).map_or(0.0, |&value| value as f64 / parts)
        };
        Self { count: values.len() as u64, p50: at(0.5), p99: at(0.99), p999: at(0.999), max: at(1.0) }
    }
}

impl Trial {
    /// Issued within this many windows, it is valid.
    pub const VALID: f64 = 1.01;
    /// Done within this many, the backend kept up.
    pub const KEPT_UP: f64 = 1.10;
    /// The largest share of the events that may be left in the queue when the window ends.
    pub const LEFT: f64 = 0.05;
    /// So few events are no queue, whatever their share: they came just before the end.
    pub const FEW: u64 = 16;
    /// After this many windows, it is given up.
    pub const GIVE_UP: f64 = 2.0;

    /// Others disturb a trial if they take more of the cores than this.
    pub const OTHERS: f64 = 0.05;

    /// Whether the machine was busy with other things.
    pub fn is_disturbed(&self) -> bool {
        self.others.is_some_and(|others| others > Self::OTHERS)
    }

    /// Whether the backend takes this load.
    pub fn passes(&self) -> bool {
        let drained = self.left_share <= Self::LEFT || self.left_in_queue <= Self::FEW;
        self.valid && self.kept_up && drained
    }
}

/// From here to the beginning of a trial: all threads are there by then.
const LEAD: Duration = Duration::from_millis(20);
/// Between two looks whether a trial is over.
const WATCH: Duration = Duration::from_millis(1);
/// Markers of a trial, and how far they are apart at least.
const MARKERS: u64 = 200;
const APART: u64 = 1_000_000;

/// Plays the first operations of `load` and reports what came of it.
///
/// A trial that was given up leaves threads behind, which end after what they are at; it takes at most
/// [`Trial::GIVE_UP`] windows, and at least a tenth of a second.
///
/// # Errors
/// [`SweepError::Backend`], [`SweepError::Zero`], and [`SweepError::EmptySchedule`] for no operations.
pub fn run(load: Load, spec: &Spec) -> Result<Trial, SweepError> {
    spec.threads.check()?;
    let plan = spec.threads.plan(&cores());
    let backend: Arc<dyn Backend> = spec.system.open(&plan.writers)?.into();
    load.warm.into_iter().for_each(|event| backend.apply(event));
    backend.flush();

    let Lanes { queries, events, totals } = Lanes::new(load.ops, spec)?;
    let count = if spec.system.answers() { (spec.window_ns / APART).clamp(1, MARKERS) } else { 0 };
    let markers = Arc::new(Markers::new(count as usize, spec.window_ns));
    let clock = Arc::new(Clock::new(LEAD));
    let query_logs: Vec<Arc<Log>> = queries.iter().map(|queries| Log::new(queries.len())).collect();
    let event_logs: Vec<Arc<Log>> = events.iter().map(|_| Log::new(0)).collect();

    let mut askers = Vec::new();
    let idle = if plan.shared { Idle::Sleep } else { Idle::Spin };
    for (number, ((queries, log), core)) in queries.into_iter().zip(&query_logs).zip(plan.query).enumerate() {
        let (backend, clock, log) = (Arc::clone(&backend), Arc::clone(&clock), Arc::clone(log));
        let markers = (number == 0 && count > 0).then(|| Arc::clone(&markers));
        askers.push(start(core, move || ask(&*backend, &queries, (&clock, idle), &log, markers.as_deref()))?);
    }
    let mut feeders = Vec::new();
    for ((mut events, log), core) in events.into_iter().zip(&event_logs).zip(plan.event) {
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
    let usage = Usage::now();
    let left_in_queue = watch(&*backend, &clock, spec, &event_logs, totals.events);
    let over = || flusher.is_finished() && askers.iter().all(JoinHandle::is_finished);
    let limit = ((spec.window_ns as f64 * Trial::GIVE_UP) as u64).max(100_000_000);
    while !over() && clock.now() < limit {
        thread::sleep(WATCH);
    }
    let given_up = !over();
    let ended = clock.now();
    clock.stop();
    let others = usage.zip(Usage::now()).map(|(begin, end)| begin.others(&end, cores().len()));
    let drained = if given_up { None } else { Some(joined(flusher)) };
    let rejected = (!given_up).then(|| backend.rejected());
    let seen = Seen { ended, drained, waiting: if given_up { backend.queued() as u64 } else { 0 }, left_in_queue };
    let staleness = (count > 0).then(|| Quantiles::new(markers.ages(ended), 1e3));
    Ok(summary(spec, &totals, &seen, &query_logs, &event_logs, (staleness, rejected, others)))
}

/// Every thread's operations with their deadlines.
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
    fn new(mut ops: Vec<super::Op>, spec: &Spec) -> Result<Self, SweepError> {
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

/// Waits for the end of the window, and says how many events are not visible then.
fn watch(backend: &dyn Backend, clock: &Clock, spec: &Spec, logs: &[Arc<Log>], events: u64) -> u64 {
    clock.sleep_until(spec.window_ns);
    let handed_over: u64 = logs.iter().map(|log| log.ended.load(Acquire)).sum();
    // Markers wait in the queue, too.
    (events - handed_over + backend.queued() as u64).min(events)
}

/// What the watching thread saw.
struct Seen {
    ended: u64,
    /// When the last event was visible.
    drained: Option<u64>,
    /// Events in the queue when the trial was given up.
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
    let ended: u64 = all().map(|log| log.ended.load(Acquire)).sum();
    let blocks: u64 = all().map(|log| log.blocks.load(Relaxed)).sum();
    // Events that wait name as many blocks as all do on average.
    let waiting_blocks = seen.waiting as f64 * totals.event_blocks as f64 / totals.events.max(1) as f64;
    let completed = ended.saturating_sub(seen.waiting) as f64;
    let completed_blocks = (blocks as f64 - waiting_blocks).max(0.0);

    let window = spec.window_ns as f64 / 1e9;
    let (issued, done) = (issued_after as f64 / 1e9, done_after as f64 / 1e9);
    let times = |of: fn(&Log) -> &[AtomicU64]| {
        Quantiles::new(query_logs.iter().flat_map(|log| log.times(of(log), seen.ended)).collect(), 1.0)
    };
    Trial {
        window,
        operations: totals.operations,
        block_operations: totals.blocks,
        offered_ops: totals.operations as f64 / window,
        offered_block_ops: totals.blocks as f64 / window,
        issued_ops: begun as f64 / issued,
        achieved_ops: completed / done,
        achieved_block_ops: completed_blocks / done,
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
