//! The literal model of the contract, as in the tests. It judges the answers in small runs and does not compete.

use std::sync::{Arc, RwLock};

use kvleap::Event;
use kvleap::baseline::reference::Reference;

use super::{Fleet, Open, Reader, System, Writer};

pub struct Literal;

impl System for Literal {
    type Writer = Half;
    type Reader = Half;

    fn open(_: Fleet) -> Open<Half, Half> {
        let model = Arc::new(RwLock::new(Reference::new()));
        Open { encode: Box::new(|event| event), writer: Half(model.clone()), reader: Half(model) }
    }
}

pub struct Half(Arc<RwLock<Reference>>);

impl Writer for Half {
    type Event = Event;

    fn apply(&mut self, event: Event) {
        self.0.write().expect("no thread has panicked").apply(&event).expect("a well-formed workload");
    }

    fn flush(&mut self) {}
}

impl Reader for Half {
    type Query = Vec<u64>;

    fn query(&self, hashes: &[u64]) -> Vec<u64> {
        hashes.to_vec()
    }

    fn all(&mut self, query: &Vec<u64>, mut report: impl FnMut(u32, u32)) {
        for (worker, depth) in self.0.read().expect("no thread has panicked").find(query) {
            report(worker.id as u32, depth);
        }
    }
}
