//! A worker's publisher: its batches, applied directly, and its registration.

use std::sync::Arc;

use kvleap::service::ingest::apply;
use kvleap::service::publisher::Copies;
use kvleap::service::{Doubt, Doubts, Model, Publisher, Tier};
use kvleap::{BlockHasher, Worker};
use serde_json::{Value, json};

use crate::common::engine_events::batch;
use crate::common::model::{depth, model};
use crate::common::service::Service;
use crate::common::zmtp;

pub(crate) const WORKER: Worker = Worker::new(7, 0);

/// Returns a hasher for blocks of 4 tokens.
pub(crate) fn hasher() -> BlockHasher {
    BlockHasher::new(4).expect("a block size above 0")
}

/// Returns the tokens of this many blocks: consecutive numbers that begin at `4 * from`.
pub(crate) fn tokens(from: u32, blocks: u32) -> Vec<u32> {
    (4 * from..4 * (from + blocks)).collect()
}

pub(crate) fn payload(events: &[Value]) -> Vec<u8> {
    batch(events, None)
}

/// Registers a publisher of the worker at a service, for the model `m`.
pub(crate) fn register(service: &Service, publisher: &zmtp::Publisher) {
    let body = json!({"instance_id": WORKER.id, "model_name": "m", "block_size": 4, "endpoint": publisher.endpoint()});
    assert_eq!(service.post("/register", &body).0, 201);
}

/// One publisher's stream. Its batches are applied directly, as a listener would apply them.
pub(crate) struct Stream {
    pub(crate) model: Arc<Model>,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) batches: u64,
}

impl Stream {
    pub(crate) fn new() -> Self {
        Self::with(Copies::Counted)
    }

    pub(crate) fn with(copies: Copies) -> Self {
        let (model, publisher) = (model(4), Arc::new(Publisher::zmq(WORKER, "tcp://127.0.0.1:1").copies(copies)));
        model.publishers().put(&publisher);
        Self { model, publisher, batches: 0 }
    }

    pub(crate) fn publish(&mut self, events: &[Value]) {
        self.publish_bytes(&payload(events));
    }

    pub(crate) fn publish_bytes(&mut self, payload: &[u8]) {
        apply(&self.model, &self.publisher, self.batches, payload).expect("the index is there");
        self.batches += 1;
    }

    /// Returns the doubts about the worker, except the one that there is no listener, which is true of every such
    /// stream.
    pub(crate) fn doubts(&self) -> Doubts {
        self.model.index().flush().expect("the index is there");
        let doubts = self.model.doubts();
        let own = doubts.iter().filter(|(worker, _)| *worker == WORKER);
        own.fold(Doubts::NONE, |all, &(_, doubts)| all.and(doubts)).without(Doubt::NotHeard.into())
    }

    pub(crate) fn depth(&self, tier: Tier, tokens: &[u32]) -> u32 {
        self.salted(tier, tokens, "")
    }

    pub(crate) fn salted(&self, tier: Tier, tokens: &[u32], salt: &str) -> u32 {
        depth(&self.model, tier, WORKER, &hasher().namespace(salt).hash(tokens))
    }
}
