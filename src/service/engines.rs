//! The engines that are subscribed to.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;

use super::config::ConfigError;
use super::engine::Engine;
use super::ingest::{self, Ingest, Listener};
use super::model::{Key, Model, ModelError, Models};
use super::rank::Rank;
use crate::event::Worker;

/// Who is listened to, by model and worker.
#[derive(Debug)]
pub(super) struct Engines {
    /// Taken out by the drop alone.
    ingest: Option<Ingest>,
    listening: Mutex<BTreeMap<(Key, Worker), Listening>>,
}

#[derive(Debug)]
struct Listening {
    engine: Engine,
    listener: Listener,
}

/// Which publishers of a model somebody means.
#[derive(Clone, Copy, Debug)]
pub(super) struct Selection<'a> {
    pub(super) instance: u64,
    pub(super) model: &'a str,
    /// All, if none is named.
    pub(super) group: Option<&'a str>,
    pub(super) tenant: &'a str,
    /// All, if none is named.
    pub(super) rank: Option<u32>,
}

impl Selection<'_> {
    fn has_model(&self, key: &Key) -> bool {
        key.model == self.model && key.tenant == self.tenant && self.group.is_none_or(|group| key.group == group)
    }

    fn has_worker(&self, worker: Worker) -> bool {
        worker.id == self.instance && self.rank.is_none_or(|rank| worker.dp_rank == rank)
    }
}

impl Engines {
    pub(super) fn start(settings: ingest::Settings) -> io::Result<Self> {
        Ok(Self { ingest: Some(Ingest::start(settings)?), listening: Mutex::default() })
    }

    fn listening(&self) -> MutexGuard<'_, BTreeMap<(Key, Worker), Listening>> {
        self.listening.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All engines, as they were registered.
    pub(super) fn all(&self) -> Vec<Engine> {
        self.listening().values().map(|listening| listening.engine.clone()).collect()
    }

    /// Listens to an engine. One that is known in all particulars is left alone; what is known of a worker from
    /// elsewhere (a snapshot, a peer, events over HTTP) is where its listener goes on.
    pub(super) fn register(&self, models: &Models, engine: Engine) -> Result<(), RegisterError> {
        engine.check().map_err(RegisterError::Engine)?;
        let model = models.get_or_add(&engine.key(), engine.block_size).map_err(RegisterError::Model)?;
        let worker = engine.worker();
        let mut listening = self.listening();
        match listening.get(&(engine.key(), worker)) {
            Some(known) if known.engine == engine => return Ok(()),
            Some(known) => {
                return Err(RegisterError::Taken { worker, endpoint: known.engine.endpoint.clone() });
            }
            None => {}
        }
        let resume = model.ranks().get(worker).map(|rank| rank.checkpoint());
        let rank = Arc::new(Rank::zmq(worker, &engine.endpoint));
        model.ranks().put(&rank);
        let ingest = self.ingest.as_ref().expect("there until the drop");
        let listener = ingest.listen(engine.source(), model, rank, resume);
        tracing::info!(%worker, model = %engine.key(), endpoint = engine.endpoint, "listening to an engine");
        listening.insert((engine.key(), worker), Listening { engine, listener });
        Ok(())
    }

    /// Leaves publishers and forgets what they hold; returns how many. Waits for the batch at hand and for the writers.
    pub(super) fn unregister(&self, models: &Models, selection: Selection<'_>, handle: &Handle) -> usize {
        let mut left = 0;
        for model in models.all().iter().filter(|model| selection.has_model(model.key())) {
            for rank in model.ranks().all().iter().filter(|rank| selection.has_worker(rank.worker())) {
                self.leave(model, rank, handle);
                left += 1;
            }
        }
        left
    }

    fn leave(&self, model: &Model, rank: &Rank, handle: &Handle) {
        let worker = rank.worker();
        let known = self.listening().remove(&(model.key().clone(), worker));
        if let Some(Listening { listener, .. }) = known {
            handle.block_on(listener.stop());
        }
        model.ranks().remove(worker);
        if ingest::forget(model, rank).is_ok() {
            tracing::info!(%worker, model = %model.key(), "left a publisher");
        }
    }

    /// Leaves all engines; what they said stays. Waits for the batches at hand.
    pub(super) fn stop(&self, handle: &Handle) {
        let all = std::mem::take(&mut *self.listening());
        for Listening { listener, .. } in all.into_values() {
            handle.block_on(listener.stop());
        }
    }
}

impl Drop for Engines {
    fn drop(&mut self) {
        // The last to let go may be a request, on a thread that must not wait for others to end.
        if let Some(ingest) = self.ingest.take() {
            ingest.shutdown();
        }
    }
}

/// Why an engine is not listened to.
#[derive(Debug)]
#[non_exhaustive]
pub enum RegisterError {
    /// It cannot be.
    Engine(ConfigError),
    /// There is no index for it.
    Model(ModelError),
    /// Its name is that of another.
    Taken {
        /// The name.
        worker: Worker,
        /// Where the other publishes.
        endpoint: String,
    },
}

impl fmt::Display for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Engine(error) => error.fmt(f),
            Self::Model(error) => error.fmt(f),
            Self::Taken { worker, endpoint } => {
                write!(f, "worker {worker} is registered already, at {endpoint} or otherwise; unregister it first")
            }
        }
    }
}

impl std::error::Error for RegisterError {}
