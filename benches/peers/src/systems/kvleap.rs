//! Ours, through its front door: `Index` with one shard.
//!
//! Cost model: `send` puts the event into a bounded mailbox and a writer thread applies and publishes it, so that the
//! time per block is the wall time of two threads working side by side. Lookups run on the caller's thread and take no
//! lock. Flushed before a lookup that must see everything.
//!
//! A second variant, applied on the caller's thread like kv-index is, belongs beside this one in this file as soon as
//! the engine offers its writer without a thread.

use std::sync::Arc;

use kvleap::{Event, Index, Matches};

use super::{Best, Fleet, Reader, System, Writer};

pub struct Kvleap;

impl System for Kvleap {
    type Writer = Sender;
    type Reader = Finder;

    fn open(fleet: Fleet) -> (Sender, Finder) {
        let index = Index::builder().shards(1).max_workers(fleet.workers).build().expect("a valid configuration");
        let index = Arc::new(index);
        (Sender(index.clone()), Finder { index, matches: Matches::new() })
    }
}

pub struct Sender(Arc<Index>);

impl Writer for Sender {
    type Event = Event;

    fn encode(&self, event: Event) -> Event {
        event
    }

    fn apply(&mut self, event: Event) {
        self.0.send(event).expect("the index is open");
    }

    fn flush(&mut self) {
        self.0.flush().expect("the index is open");
    }
}

pub struct Finder {
    index: Arc<Index>,
    matches: Matches,
}

impl Reader for Finder {
    type Query = Vec<u64>;

    fn query(&self, hashes: &[u64]) -> Vec<u64> {
        hashes.to_vec()
    }

    fn all(&mut self, query: &Vec<u64>, mut report: impl FnMut(u32, u32)) {
        self.index.find(query, &mut self.matches);
        for (worker, depth) in self.matches.iter() {
            report(worker.id as u32, depth);
        }
    }

    fn best(&mut self, query: &Vec<u64>) -> Best {
        self.index.find(query, &mut self.matches);
        let mut best = Best::default();
        if let Some((depth, workers)) = self.matches.best() {
            for worker in workers {
                best.offer(worker.id as u32, depth);
            }
        }
        best
    }
}
