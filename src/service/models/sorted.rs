//! A sorted list of publishers that is cheap to change.

use std::sync::Arc;

use crate::event::Worker;
use crate::service::publisher::Publisher;

/// Publishers, sorted by worker and seat.
///
/// The list is in chunks, which copies of it share. A change copies the list of chunks and the chunk that it changes, so
/// that entering one publisher after the other stays cheap when there are ten thousand.
#[derive(Clone, Debug, Default)]
pub(super) struct Sorted {
    /// None is empty.
    chunks: Vec<Arc<Vec<Arc<Publisher>>>>,
    /// How many workers they were registered as.
    workers: usize,
}

/// The longest chunk. With ten thousand publishers the list has about as many chunks.
const LONGEST: usize = 128;

fn place(publisher: &Publisher) -> (Worker, u8) {
    (publisher.worker(), publisher.seat())
}

fn last(chunk: &[Arc<Publisher>]) -> &Publisher {
    chunk.last().expect("no chunk is empty")
}

impl Sorted {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Publisher>> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Returns how many workers the publishers were registered as.
    pub(super) fn workers(&self) -> usize {
        self.workers
    }

    /// Returns the publishers that were registered as this worker or a later one.
    pub(super) fn from(&self, worker: Worker) -> impl Iterator<Item = &Arc<Publisher>> {
        let chunk = self.chunks.partition_point(|chunk| last(chunk).worker() < worker);
        let rest = |first: &'_ Arc<Vec<Arc<Publisher>>>| first.partition_point(|other| other.worker() < worker);
        let first = self.chunks.get(chunk).map_or(&[][..], |first| &first[rest(first)..]);
        let others = self.chunks.get(chunk + 1..).unwrap_or_default();
        first.iter().chain(others.iter().flat_map(|chunk| chunk.iter()))
    }

    /// Returns the publishers that were registered as this worker.
    pub(super) fn of(&self, worker: Worker) -> impl Iterator<Item = &Arc<Publisher>> {
        self.from(worker).take_while(move |publisher| publisher.worker() == worker)
    }

    /// Returns the publishers of one instance.
    pub(super) fn instance(&self, id: u64) -> impl Iterator<Item = &Arc<Publisher>> {
        self.from(Worker::new(id, 0)).take_while(move |publisher| publisher.worker().id == id)
    }

    /// Adds a publisher. It replaces the one with the same worker and seat.
    pub(super) fn put(&mut self, publisher: &Arc<Publisher>) {
        let is_new = self.of(publisher.worker()).next().is_none();
        self.workers += usize::from(is_new);
        if self.chunks.is_empty() {
            self.chunks.push(Arc::default());
        }
        let before =
            self.chunks[..self.chunks.len() - 1].partition_point(|chunk| place(last(chunk)) < place(publisher));
        let chunk = Arc::make_mut(&mut self.chunks[before]);
        match chunk.binary_search_by_key(&place(publisher), |other| place(other)) {
            Ok(at) => chunk[at] = Arc::clone(publisher),
            Err(at) => chunk.insert(at, Arc::clone(publisher)),
        }
        if chunk.len() > LONGEST {
            let rest = chunk.split_off(LONGEST / 2);
            self.chunks.insert(before + 1, Arc::new(rest));
        }
    }

    /// Removes the publisher with this one's worker and seat.
    pub(super) fn remove(&mut self, publisher: &Publisher) {
        let at = self.chunks.partition_point(|chunk| place(last(chunk)) < place(publisher));
        let Some(chunk) = self.chunks.get_mut(at) else { return };
        let Ok(found) = chunk.binary_search_by_key(&place(publisher), |other| place(other)) else { return };
        let chunk = Arc::make_mut(chunk);
        chunk.remove(found);
        if chunk.is_empty() {
            self.chunks.remove(at);
        }
        let was_last = self.of(publisher.worker()).next().is_none();
        self.workers -= usize::from(was_last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn it_is_a_sorted_list_whatever_is_put_and_removed() {
        let mut list = Sorted::default();
        let mut literal: BTreeMap<(Worker, u8), Arc<Publisher>> = BTreeMap::new();
        let mut random = fastrand::Rng::with_seed(1);
        for step in 0..6000 {
            let worker = Worker::new(random.u64(..300), random.u32(..3));
            let publisher = Arc::new(Publisher::http(worker).in_seat(random.u8(..2)));
            // First it grows, and then it shrinks.
            if random.u32(..6000) > step {
                list.put(&publisher);
                literal.insert(place(&publisher), publisher);
            } else {
                list.remove(&publisher);
                literal.remove(&place(&publisher));
            }
            let equal = |a: &mut dyn Iterator<Item = &Arc<Publisher>>, b: &mut dyn Iterator<Item = &Arc<Publisher>>| {
                a.map(Arc::as_ptr).eq(b.map(Arc::as_ptr))
            };
            assert!(list.chunks.iter().all(|chunk| !chunk.is_empty() && chunk.len() <= LONGEST));
            if step % 50 == 0 {
                assert!(equal(&mut list.iter(), &mut literal.values()));
                let mut workers: Vec<_> = literal.keys().map(|(worker, _)| worker).collect();
                workers.dedup();
                assert_eq!((list.workers(), list.is_empty()), (workers.len(), literal.is_empty()));
            }
            let ours = literal.range((worker, 0)..).take_while(|((other, _), _)| *other == worker);
            assert!(equal(&mut list.of(worker), &mut ours.map(|(_, publisher)| publisher)));
            let instance = literal.values().filter(|other| other.worker().id == worker.id).collect::<Vec<_>>();
            assert!(equal(&mut list.instance(worker.id), &mut instance.into_iter()));
        }
    }

    #[test]
    fn a_change_copies_only_what_is_near() {
        let mut list = Sorted::default();
        (0..10_000).for_each(|id| list.put(&Arc::new(Publisher::http(Worker::new(id * 2, 0)))));
        let before = list.clone();
        list.put(&Arc::new(Publisher::http(Worker::new(5001, 0))));
        let shared = list.chunks.iter().filter(|chunk| before.chunks.iter().any(|other| Arc::ptr_eq(chunk, other)));
        assert!(shared.count() >= before.chunks.len() - 1);
        assert!(before.chunks.len() < 200, "{} chunks", before.chunks.len());
        assert_eq!((before.workers(), list.workers()), (10_000, 10_001));
    }
}
