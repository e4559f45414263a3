//! A model that threads share, as in the fifth and sixth designs: lookups run on the caller's thread, and a pool of
//! threads applies events. All events of a worker go to one of them, so that they stay in order.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::{fmt, io};

use dashmap::DashMap;
use dashmap::mapref::one::Ref;
use rustc_hash::FxBuildHasher;

use super::model::Model;
use super::thread::Thread;
use super::{Backend, Reader, Writers};
use crate::event::{Event, Worker};

/// A pool around `M`, which is a handle on shared state. Any number of events may wait, as in the story.
pub(super) struct Pool<M> {
    name: &'static str,
    model: M,
    threads: Vec<Thread>,
    /// The thread of each worker.
    assigned: DashMap<Worker, usize, FxBuildHasher>,
    /// How many workers have a thread.
    workers: AtomicUsize,
}

impl<M: Model + Clone + Send + 'static> Pool<M> {
    pub(super) fn start(name: &'static str, writers: &Writers) -> io::Result<Self> {
        let model = M::default();
        let threads = (0..writers.threads.max(1)).map(|i| {
            let mut model = model.clone();
            Thread::start(format!("kvleap-{name}-{i}"), None, writers.core(i), move |events, progress| {
                while events.recv().is_ok_and(|message| progress.handle(message, &mut model)) {}
            })
        });
        let threads = threads.collect::<io::Result<_>>()?;
        Ok(Self { name, model, threads, assigned: DashMap::default(), workers: AtomicUsize::new(0) })
    }
}

impl<M: Model + Send + Sync> Backend for Pool<M> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn apply(&self, event: Event) {
        let next = || self.workers.fetch_add(1, Relaxed) % self.threads.len();
        let thread = *self.assigned.entry(event.worker).or_insert_with(next);
        self.threads[thread].apply(event);
    }

    fn reader(&self) -> Box<dyn Reader + Send + '_> {
        Box::new(self)
    }

    fn flush(&self) {
        let waits: Vec<_> = self.threads.iter().map(Thread::flush).collect();
        for wait in waits {
            wait.recv().expect("the thread answers, unless it panicked");
        }
    }

    fn queued(&self) -> usize {
        self.threads.iter().map(Thread::queued).sum()
    }

    fn rejected(&self) -> u64 {
        self.threads.iter().map(Thread::rejected).sum()
    }
}

impl<M: Model> Reader for &Pool<M> {
    fn find(&mut self, query: &[u64], scores: &mut Vec<(Worker, u32)>) {
        scores.clear();
        self.model.find(query, scores);
    }
}

/// Returns the worker's own table; an empty one if the worker is new.
pub(super) fn table_of<T: Default>(worker: Worker, tables: &DashMap<Worker, T, FxBuildHasher>) -> Ref<'_, Worker, T> {
    // `entry` alone would wait for all tables in use nearby; looking first costs a second look for new workers only.
    tables.get(&worker).unwrap_or_else(|| tables.entry(worker).or_default().downgrade())
}

/// Leaves out the model, which is as large as a fleet.
impl<M> fmt::Debug for Pool<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, threads, assigned, workers, model: _ } = self;
        let mut text = f.debug_struct("Pool");
        text.field("name", name).field("threads", threads).field("assigned", assigned).field("workers", workers);
        text.finish_non_exhaustive()
    }
}
