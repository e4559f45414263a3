//! The publishers of a model.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use crate::event::Worker;
use crate::service::doubt::{Doubt, Doubts};
use crate::service::publisher::{Copies, Publisher, SEATS};

/// The publishers of a model. Reading takes no lock.
#[derive(Debug, Default)]
pub struct Publishers {
    /// Sorted by worker and seat.
    all: ArcSwap<Vec<Arc<Publisher>>>,
    /// Held while one is added or removed.
    changing: Mutex<()>,
    /// A bit for every number of tokens that hashes of publishers have looked ahead so far.
    lookaheads: AtomicU64,
}

/// How many tokens behind its block a hash may cover at most. Events with more are skipped.
pub const MAX_LOOKAHEAD: u32 = u64::BITS - 1;

impl Publishers {
    /// Returns all publishers, sorted by worker.
    pub fn all(&self) -> Arc<Vec<Arc<Publisher>>> {
        self.all.load_full()
    }

    /// Returns the publishers that were registered as this worker.
    pub fn of(&self, worker: Worker) -> Vec<Arc<Publisher>> {
        let publishers = self.all.load();
        let from = publishers.partition_point(|publisher| publisher.worker() < worker);
        publishers[from..].iter().take_while(|publisher| publisher.worker() == worker).map(Arc::clone).collect()
    }

    /// Returns the first publisher that was registered as this worker.
    pub fn get(&self, worker: Worker) -> Option<Arc<Publisher>> {
        self.of(worker).into_iter().next()
    }

    /// Returns the publisher that speaks for this worker: one that was registered as it, or as another rank of the same
    /// instance and has named this one in its batches.
    pub fn speaker(&self, worker: Worker) -> Option<Arc<Publisher>> {
        let publishers = self.all.load();
        let named = || instance(&publishers, worker.id).find(|publisher| publisher.workers().contains(&worker));
        instance(&publishers, worker.id).find(|publisher| publisher.worker() == worker).or_else(named).map(Arc::clone)
    }

    /// Whether a publisher that was registered as another worker than `registered` speaks for this one.
    pub(in crate::service) fn speaks_another(&self, worker: Worker, registered: Worker) -> bool {
        let publishers = self.all.load();
        let mut others = instance(&publishers, worker.id).filter(|publisher| publisher.worker() != registered);
        others.any(|publisher| publisher.worker() == worker || publisher.workers().contains(&worker))
    }

    /// Whether other publishers speak for this one's worker, too.
    pub(in crate::service) fn has_company(&self, publisher: &Publisher) -> bool {
        self.of(publisher.worker()).iter().any(|other| other.seat() != publisher.seat())
    }

    /// Returns the workers about which answers may not be exact, and why, sorted by worker. `unplaced` are those of
    /// which the index left blocks out.
    pub fn doubts(&self, unplaced: impl IntoIterator<Item = Worker>) -> Vec<(Worker, Doubts)> {
        let publishers = self.all.load();
        let doubtful = publishers
            .iter()
            .filter(|publisher| publisher.is_doubtful())
            .flat_map(|publisher| publisher.doubts_by_worker());
        let unplaced = unplaced.into_iter().map(|worker| (worker, Doubt::Unplaced.into()));
        let mut doubts: Vec<_> = doubtful.filter(|(_, doubts)| !doubts.is_empty()).chain(unplaced).collect();
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
        let publishers = self.all.load();
        let own: usize = publishers.iter().map(|publisher| publisher.bytes()).sum();
        // Publishers of one worker share their records.
        let by_worker = publishers.chunk_by(|a, b| a.worker() == b.worker());
        let records: usize = by_worker.map(|publishers| publishers[0].records().bytes()).sum();
        (own + records) as u64
    }

    /// Adds a publisher. It replaces the one with the same worker and seat.
    pub fn put(&self, publisher: &Arc<Publisher>) {
        publisher.lookahead().into_iter().for_each(|tokens| self.note_lookahead(tokens));
        self.change(|publishers| put(publishers, publisher));
    }

    /// Adds a publisher of `worker` at this endpoint, and returns it; `None` if all seats are taken.
    ///
    /// It continues where another publisher at the same endpoint was, in the same seat. Otherwise it takes the first
    /// free seat. A publisher over HTTP has no endpoint and is added once: if there is one, it is returned.
    pub(in crate::service) fn enter(
        &self,
        worker: Worker,
        endpoint: Option<&str>,
        copies: Copies,
    ) -> Option<Arc<Publisher>> {
        self.change(|publishers| {
            let others: Vec<_> = publishers.iter().filter(|publisher| publisher.worker() == worker).cloned().collect();
            let same = others.iter().find(|other| other.endpoint() == endpoint);
            if let Some(same) = same.filter(|_| endpoint.is_none()) {
                return Some(Arc::clone(same));
            }
            let is_free = |seat: &u8| others.iter().all(|other| other.seat() != *seat);
            let seat = same.map(|same| same.seat()).or_else(|| (0..SEATS).find(is_free))?;
            let mut publisher = match endpoint {
                Some(endpoint) => Publisher::zmq(worker, endpoint).copies(copies),
                None => Publisher::http(worker),
            };
            if let Some(other) = others.first() {
                publisher = publisher.seated(seat, other.shared_records());
            }
            if let Some(same) = same {
                publisher.go_on_from(same);
            }
            let publisher = Arc::new(publisher);
            put(publishers, &publisher);
            Some(publisher)
        })
    }

    /// Removes a publisher.
    pub fn remove(&self, publisher: &Publisher) {
        self.change(|publishers| {
            publishers.retain(|other| (other.worker(), other.seat()) != (publisher.worker(), publisher.seat()));
        });
    }

    fn change<T>(&self, change: impl FnOnce(&mut Vec<Arc<Publisher>>) -> T) -> T {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut publishers = Vec::clone(&self.all.load());
        let changed = change(&mut publishers);
        self.all.store(Arc::new(publishers));
        changed
    }
}

fn put(publishers: &mut Vec<Arc<Publisher>>, publisher: &Arc<Publisher>) {
    let place = |other: &Arc<Publisher>| (other.worker(), other.seat());
    match publishers.binary_search_by_key(&place(publisher), place) {
        Ok(at) => publishers[at] = Arc::clone(publisher),
        Err(at) => publishers.insert(at, Arc::clone(publisher)),
    }
}

/// Returns the publishers of one instance.
fn instance(publishers: &[Arc<Publisher>], id: u64) -> impl Iterator<Item = &Arc<Publisher>> {
    let from = publishers.partition_point(|publisher| publisher.worker().id < id);
    publishers[from..].iter().take_while(move |publisher| publisher.worker().id == id)
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
