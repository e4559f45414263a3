//! Our index, through its public interface: `Index` with one shard.
//!
//! Cost model: `send` puts the event into a bounded mailbox, and a writer thread applies and publishes it, so the time
//! per block is the wall time of two threads that work side by side. Lookups run on the caller's thread and take no
//! lock. The harness flushes before a lookup that must see everything.
//!
//! `Direct` is the same shard without the thread: events are applied on the caller's thread, as in kv-index and
//! smg-radix-tree. It publishes after the largest number of events that the writer thread applies before it publishes,
//! so its staleness depends on the number chosen here.

use kvleap::{Builder, Event, EventData, Index, Matches, Worker};

use crate::place::applying;

use super::{Best, Fleet, Open, Reader, System, Writer};

pub struct Kvleap;

impl System for Kvleap {
    type Writer = Sender;
    type Reader = Finder<Index>;

    fn open(fleet: Fleet) -> Open<Sender, Finder<Index>> {
        let index = settings(fleet).pin(applying().into_iter().collect()).build().expect("a valid configuration");
        registered(fleet).for_each(|event| index.send(event).expect("the index is open"));
        let reader = Finder { index: index.clone(), matches: Matches::new() };
        Open { encode: Box::new(|event| event), writer: Sender(index), reader }
    }
}

/// Returns settings with a fixed seed, so that all runs are alike.
fn settings(fleet: Fleet) -> Builder {
    Index::builder().seed(1).max_workers(fleet.workers)
}

/// Returns events that add the workers in order, so that a worker's slot is its number. Answers are read out as slots.
fn registered(fleet: Fleet) -> impl Iterator<Item = Event> {
    (0..fleet.workers).map(|number| Event {
        worker: Worker::new(number.into(), 0),
        id: 0,
        data: EventData::WorkerAdded,
    })
}

pub struct Sender(Index);

impl Writer for Sender {
    type Event = Event;

    fn apply(&mut self, event: Event) {
        self.0.send(event).expect("the index is open");
    }

    fn flush(&mut self) {
        self.0.flush().expect("the index is open");
    }
}

pub struct Direct;

impl System for Direct {
    type Writer = Owner;
    type Reader = Finder<kvleap::Reader>;

    fn open(fleet: Fleet) -> Open<Owner, Finder<kvleap::Reader>> {
        let (mut shard, index) = settings(fleet).build_local().expect("a valid configuration");
        registered(fleet).for_each(|event| shard.apply(&event).expect("room for all workers"));
        let reader = Finder { index, matches: Matches::new() };
        Open { encode: Box::new(|event| event), writer: Owner { shard, unpublished: 0 }, reader }
    }
}

/// Events between two publications: the default of `publish_batch`.
const BATCH: u32 = 256;

pub struct Owner {
    shard: kvleap::Writer,
    unpublished: u32,
}

impl Writer for Owner {
    type Event = Event;

    fn apply(&mut self, event: Event) {
        self.shard.apply(&event).expect("a well-formed workload");
        self.unpublished += 1;
        if self.unpublished == BATCH {
            self.flush();
        }
    }

    fn flush(&mut self) {
        self.shard.publish();
        self.unpublished = 0;
    }
}

/// A handle that answers lookups: `Index` or its `Reader`.
pub trait Find: Send {
    fn find(&self, query: &[u64], matches: &mut Matches);
}

impl Find for Index {
    fn find(&self, query: &[u64], matches: &mut Matches) {
        Self::find(self, query, matches);
    }
}

impl Find for kvleap::Reader {
    fn find(&self, query: &[u64], matches: &mut Matches) {
        Self::find(self, query, matches);
    }
}

pub struct Finder<F> {
    index: F,
    matches: Matches,
}

impl<F: Find> Reader for Finder<F> {
    type Query = Vec<u64>;

    fn query(&self, hashes: &[u64]) -> Vec<u64> {
        hashes.to_vec()
    }

    fn all(&mut self, query: &Vec<u64>, mut report: impl FnMut(u32, u32)) {
        self.index.find(query, &mut self.matches);
        self.matches.slots().for_each(|(slot, depth)| report(slot, depth));
    }

    fn best(&mut self, query: &Vec<u64>) -> Best {
        self.index.find(query, &mut self.matches);
        let Some(layer) = self.matches.best() else { return Best::default() };
        layer.slots().fold(Best { depth: layer.depth(), ..Best::default() }, |best, slot| Best {
            workers: best.workers + 1,
            sum: best.sum + u64::from(slot),
            ..best
        })
    }
}
