//! The publishers of a model.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use super::sorted::Sorted;
use crate::event::Worker;
use crate::service::doubt::Doubts;
use crate::service::publisher::{Copies, Publisher, SEATS};

/// The publishers of a model. Reading takes no lock.
#[derive(Debug)]
pub struct Publishers {
    all: ArcSwap<Sorted>,
    /// Held while one is added or removed. Locked after a publisher's position.
    changing: Mutex<()>,
    /// A bit for every number of tokens that hashes of publishers have looked ahead so far.
    lookaheads: AtomicU64,
    /// How many workers there may be.
    most: usize,
    /// How many workers publishers have named that they were not registered as.
    named: AtomicUsize,
}

/// How many workers a model may have, if nothing else is set.
pub(in crate::service) const DEFAULT_MAX_WORKERS: usize = 1 << 14;

/// How many tokens behind its block a hash may cover at most. Events with more are skipped.
pub const MAX_LOOKAHEAD: u32 = u64::BITS - 1;

/// Why a publisher cannot speak for a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoRoom {
    /// As many publishers as may do so speak for it already.
    #[error("too many publishers speak for this worker")]
    Publishers,
    /// The memory budget is exceeded.
    #[error("the memory budget is exceeded")]
    Memory,
    /// The model has as many workers as it may have.
    #[error("the model already has {most} workers, as many as max_workers allows")]
    Workers {
        /// How many are allowed.
        most: usize,
    },
}

impl Default for Publishers {
    fn default() -> Self {
        Self::new(DEFAULT_MAX_WORKERS)
    }
}

impl Publishers {
    /// Creates an empty list for at most this many workers.
    pub(super) fn new(most: usize) -> Self {
        Self {
            all: ArcSwap::default(),
            changing: Mutex::default(),
            lookaheads: AtomicU64::default(),
            most,
            named: AtomicUsize::default(),
        }
    }

    /// Returns all publishers, sorted by worker.
    pub fn all(&self) -> Vec<Arc<Publisher>> {
        self.all.load().iter().map(Arc::clone).collect()
    }

    /// Whether there is none.
    pub(in crate::service) fn is_empty(&self) -> bool {
        self.all.load().is_empty()
    }

    /// Returns the publishers that were registered as this worker.
    pub fn of(&self, worker: Worker) -> Vec<Arc<Publisher>> {
        self.all.load().of(worker).map(Arc::clone).collect()
    }

    /// Returns the first publisher that was registered as this worker.
    pub fn get(&self, worker: Worker) -> Option<Arc<Publisher>> {
        self.all.load().of(worker).next().map(Arc::clone)
    }

    /// Returns the publisher over HTTP of this worker.
    pub(in crate::service) fn over_http(&self, worker: Worker) -> Option<Arc<Publisher>> {
        self.all.load().of(worker).find(|publisher| publisher.endpoint().is_none()).map(Arc::clone)
    }

    /// Returns the publishers of an instance, whatever the rank.
    pub(in crate::service) fn of_instance(&self, id: u64) -> Vec<Arc<Publisher>> {
        self.all.load().instance(id).map(Arc::clone).collect()
    }

    /// Returns the publisher that speaks for this worker: one that was registered as it, or as another rank of the same
    /// instance and has named this one in its batches.
    pub fn speaker(&self, worker: Worker) -> Option<Arc<Publisher>> {
        let publishers = self.all.load();
        let named = || publishers.instance(worker.id).find(|publisher| publisher.workers().contains(&worker));
        publishers.of(worker).next().or_else(named).map(Arc::clone)
    }

    /// Whether a publisher that was registered as another worker than `registered` speaks for this one.
    pub(in crate::service) fn speaks_another(&self, worker: Worker, registered: Worker) -> bool {
        let publishers = self.all.load();
        let mut others = publishers.instance(worker.id).filter(|publisher| publisher.worker() != registered);
        others.any(|publisher| publisher.worker() == worker || publisher.workers().contains(&worker))
    }

    /// Whether other publishers speak for this one's worker, too.
    pub(in crate::service) fn has_company(&self, publisher: &Publisher) -> bool {
        self.all.load().of(publisher.worker()).any(|other| other.seat() != publisher.seat())
    }

    /// Returns the workers about which answers may not be exact, and why, sorted by worker. `others` are doubts that come
    /// from the index.
    pub fn doubts(&self, others: impl IntoIterator<Item = (Worker, Doubts)>) -> Vec<(Worker, Doubts)> {
        let publishers = self.all.load();
        let doubtful = publishers
            .iter()
            .filter(|publisher| publisher.is_doubtful())
            .flat_map(|publisher| publisher.doubts_by_worker());
        let mut doubts: Vec<_> = doubtful.filter(|(_, doubts)| !doubts.is_empty()).chain(others).collect();
        if doubts.len() > 1 {
            doubts.sort_unstable_by_key(|&(worker, _)| worker);
            doubts.dedup_by(|next, kept| {
                let same = next.0 == kept.0;
                if same {
                    kept.1 = kept.1.and(next.1);
                }
                same
            });
        }
        doubts
    }

    /// Returns how many tokens hashes of publishers look ahead: every number met so far, ascending; 0 if none was.
    pub(in crate::service) fn lookaheads(&self) -> impl Iterator<Item = u32> + use<> {
        let lookaheads = self.lookaheads.load(Relaxed).max(1);
        (0..=MAX_LOOKAHEAD).filter(move |&tokens| lookaheads & 1 << tokens != 0)
    }

    /// Notes that hashes of a publisher look ahead by this many tokens.
    pub(in crate::service) fn note_lookahead(&self, tokens: u32) {
        if self.lookaheads.load(Relaxed) & 1 << tokens == 0 {
            self.lookaheads.fetch_or(1 << tokens, Relaxed);
        }
    }

    /// Returns about how many bytes they take, with what they remember of their workers. Waits for batches that are being
    /// handed over.
    pub(in crate::service) fn bytes(&self) -> u64 {
        let publishers = self.all();
        let own: usize = publishers.iter().map(|publisher| publisher.bytes()).sum();
        // Publishers of one worker share their records.
        let by_worker = publishers.chunk_by(|a, b| a.worker() == b.worker());
        let records: usize = by_worker.map(|publishers| publishers[0].records().bytes()).sum();
        (own + records) as u64
    }

    /// Adds a publisher. It replaces the one with the same worker and seat.
    pub fn put(&self, publisher: &Arc<Publisher>) {
        publisher.lookahead().into_iter().for_each(|tokens| self.note_lookahead(tokens));
        self.change(|publishers| {
            // Publishers of one worker share what is remembered of the workers that they have named.
            if publishers.of(publisher.worker()).next().is_none() {
                self.named.fetch_add(publisher.records().others(publisher.worker().dp_rank), Relaxed);
            }
            publishers.put(publisher);
        });
    }

    /// Adds a publisher of `worker` at this endpoint, and returns it.
    ///
    /// It continues where another publisher at the same endpoint was, in the same seat. Otherwise it takes the first
    /// free seat.
    pub(in crate::service) fn enter(
        &self,
        worker: Worker,
        endpoint: &str,
        copies: Copies,
    ) -> Result<Arc<Publisher>, NoRoom> {
        let publisher = || Publisher::zmq(worker, endpoint).copies(copies);
        let same = self.all.load().of(worker).find(|other| other.endpoint() == Some(endpoint)).map(Arc::clone);
        let same = same.map(|same| {
            let publisher = publisher().seated(same.seat(), same.shared_records());
            publisher.go_on_from(&same);
            publisher
        });
        self.change(|publishers| {
            let publisher = Arc::new(same.map_or_else(|| self.seat(publishers, publisher()), Ok)?);
            publishers.put(&publisher);
            Ok(publisher)
        })
    }

    /// Returns the publishers over HTTP of these workers. A worker that has none gets one, unless there is no room.
    pub(in crate::service) fn enter_over_http(&self, workers: &[Worker]) -> Vec<Result<Arc<Publisher>, NoRoom>> {
        let known: Vec<_> = workers.iter().map(|&worker| (worker, self.over_http(worker))).collect();
        if known.iter().all(|(_, publisher)| publisher.is_some()) {
            return known.into_iter().filter_map(|(_, publisher)| publisher.map(Ok)).collect();
        }
        // All of them at once: a change copies a part of the list.
        self.change(|publishers| {
            let enter = |(worker, _)| {
                if let Some(same) = publishers.of(worker).find(|other| other.endpoint().is_none()) {
                    return Ok(Arc::clone(same));
                }
                let publisher = Arc::new(self.seat(publishers, Publisher::http(worker))?);
                publishers.put(&publisher);
                Ok(publisher)
            };
            known.into_iter().map(enter).collect()
        })
    }

    /// Gives a publisher the first free seat of its worker.
    fn seat(&self, publishers: &Sorted, publisher: Publisher) -> Result<Publisher, NoRoom> {
        let mut others = publishers.of(publisher.worker()).peekable();
        let Some(records) = others.peek().map(|other| Arc::clone(other.shared_records())) else {
            let is_full = publishers.workers() >= self.most;
            return if is_full { Err(NoRoom::Workers { most: self.most }) } else { Ok(publisher) };
        };
        let taken = others.fold(0, |taken: u32, other| taken | 1 << other.seat());
        let seat = (0..SEATS).find(|seat| taken & 1 << seat == 0).ok_or(NoRoom::Publishers)?;
        Ok(publisher.seated(seat, &records))
    }

    /// Notes that a publisher has named a worker that it was not registered as. Returns whether there is room for it.
    ///
    /// These workers have room of their own. A publisher that names thousands takes none from those that are registered.
    pub(in crate::service) fn name_worker(&self) -> bool {
        let one_more = |named| (named < self.most).then_some(named + 1);
        self.named.fetch_update(Relaxed, Relaxed, one_more).is_ok()
    }

    /// Notes that this many of the workers that publishers have named are gone.
    pub(in crate::service) fn forget_named(&self, workers: usize) {
        let fewer = |named: usize| Some(named.saturating_sub(workers));
        // The update never fails, because it always has a number.
        let _ = self.named.fetch_update(Relaxed, Relaxed, fewer);
    }

    /// Removes a publisher.
    pub fn remove(&self, publisher: &Publisher) {
        self.change(|publishers| publishers.remove(publisher));
    }

    fn change<T>(&self, change: impl FnOnce(&mut Sorted) -> T) -> T {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut publishers = Sorted::clone(&self.all.load());
        let changed = change(&mut publishers);
        self.all.store(Arc::new(publishers));
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publishers_are_found_by_all_that_they_speak_for() {
        let publishers = Publishers::default();
        for worker in [Worker::new(7, 4), Worker::new(7, 0), Worker::new(3, 9)] {
            publishers.put(&Arc::new(Publisher::zmq(worker, "tcp://x:1")));
        }
        publishers.get(Worker::new(7, 4)).expect("it was put").note_rank(5);
        let speaker = |id, dp_rank| publishers.speaker(Worker::new(id, dp_rank)).map(|publisher| publisher.worker());
        assert_eq!(speaker(7, 5), Some(Worker::new(7, 4)));
        assert_eq!(speaker(7, 0), Some(Worker::new(7, 0)));
        assert_eq!((speaker(7, 1), speaker(3, 0), speaker(8, 0)), (None, None, None));
        assert!(Arc::ptr_eq(&publishers.get(Worker::new(3, 9)).expect("it was put"), &publishers.all()[0]));
        publishers.remove(&publishers.get(Worker::new(7, 4)).expect("it was put"));
        assert_eq!((speaker(7, 5), publishers.all().len()), (None, 2));
    }
}
