//! The engines that are subscribed to.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::config::ConfigError;
use super::engine::Engine;
use super::ingest::{self, Ingest, Listener};
use super::model::{Key, Model, ModelError, Models};
use super::publisher::{Connection, Copies, Publisher};
use crate::event::Worker;
use crate::index::Closed;

/// Who is listened to, by model, worker and endpoint.
#[derive(Debug)]
pub(super) struct Engines {
    /// Taken out by the drop alone.
    ingest: Option<Ingest>,
    listening: Mutex<BTreeMap<Name, Listening>>,
}

type Name = (Key, Worker, String);

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
    pub(super) dp_rank: Option<u32>,
}

impl Selection<'_> {
    fn has_model(&self, key: &Key) -> bool {
        key.model == self.model && key.tenant == self.tenant && self.group.is_none_or(|group| key.group == group)
    }

    fn has_worker(&self, worker: Worker) -> bool {
        worker.id == self.instance && self.dp_rank.is_none_or(|dp_rank| worker.dp_rank == dp_rank)
    }
}

impl Engines {
    pub(super) fn start(settings: ingest::Settings) -> io::Result<Self> {
        Ok(Self { ingest: Some(Ingest::start(settings)?), listening: Mutex::default() })
    }

    fn listening(&self) -> MutexGuard<'_, BTreeMap<Name, Listening>> {
        self.listening.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ingest(&self) -> &Ingest {
        self.ingest.as_ref().expect("there until the drop")
    }

    /// All engines, as they were registered.
    pub(super) fn all(&self) -> Vec<Engine> {
        self.listening().values().map(|listening| listening.engine.clone()).collect()
    }

    /// Listens to an engine. One that is known in all particulars is left alone; where an engine at this endpoint was (in a
    /// snapshot, or at a peer), its listener goes on. One at another endpoint speaks for the worker, too: an offloading
    /// connector, or the same engine at a new address, until the old one counts as gone.
    pub(super) fn register(&self, models: &Models, engine: Engine) -> Result<(), RegisterError> {
        engine.check().map_err(RegisterError::Engine)?;
        let worker = engine.worker();
        let name = (engine.key(), worker, engine.endpoint.clone());
        let taken = |endpoint: &str| RegisterError::Taken { worker, endpoint: endpoint.to_owned() };
        // While this is held, no model is removed.
        let mut listening = self.listening();
        let model = models.get_or_add(&engine.key(), engine.block_size).map_err(RegisterError::Model)?;
        match listening.get(&name) {
            Some(known) if known.engine == engine => return Ok(()),
            Some(known) => return Err(taken(&known.engine.endpoint)),
            None => {}
        }
        let others = model.publishers().of(worker);
        let same = others.iter().any(|other| other.endpoint() == Some(&engine.endpoint));
        // Whoever is gone makes room.
        if let Some(gone) = others.iter().find(|other| !same && other.connection() == Connection::Gone) {
            self.leave(&mut listening, &model, gone);
        }
        let zmq = others.iter().filter(|other| other.endpoint().is_some());
        if let Some(other) = zmq.into_iter().find(|other| other.counts_copies() != (engine.copies == Copies::Counted)) {
            return Err(RegisterError::Copies { worker, endpoint: other.endpoint().unwrap_or_default().to_owned() });
        }
        if let Some(other) = model.publishers().speaker(worker).filter(|other| other.worker() != worker) {
            ingest::give_up(&model, &other, worker).map_err(|Closed| RegisterError::Closed)?;
        }
        let entered = ingest::enter(&model, worker, Some(&engine.endpoint), engine.copies);
        let entered = entered.map_err(|Closed| RegisterError::Closed)?;
        let last = others.last().and_then(|other| other.endpoint());
        let publisher = entered.ok_or_else(|| taken(last.unwrap_or_default()))?;
        let listener = self.ingest().listen(engine.source(), model, publisher, None);
        tracing::info!(%worker, model = %engine.key(), endpoint = engine.endpoint, "listening to an engine");
        listening.insert(name, Listening { engine, listener });
        Ok(())
    }

    /// Leaves publishers and forgets what they hold; returns how many. A model that nobody speaks for any more goes, too.
    /// Waits for the batch at hand and for the writers.
    pub(super) fn unregister(&self, models: &Models, selection: Selection<'_>) -> usize {
        let mut left = 0;
        for model in models.all().iter().filter(|model| selection.has_model(model.key())) {
            let mut listening = self.listening();
            for publisher in
                model.publishers().all().iter().filter(|publisher| selection.has_worker(publisher.worker()))
            {
                self.leave(&mut listening, model, publisher);
                left += 1;
            }
            models.remove_if_left(model.key());
        }
        left
    }

    /// Drops what those publishers hold that are unreachable and that nobody listens to: copied from a peer, and not
    /// heard since. To be called when the grace period after the copy is over; listeners see to their own.
    pub(super) fn expire_unheard(&self, models: &Models) {
        for model in models.all().iter() {
            let mut listening = self.listening();
            for publisher in
                model.publishers().all().iter().filter(|publisher| publisher.connection() == Connection::Unreachable)
            {
                let endpoint = publisher.endpoint().unwrap_or_default().to_owned();
                if listening.contains_key(&(model.key().clone(), publisher.worker(), endpoint)) {
                    continue;
                }
                // A model that was shut down holds nothing any more.
                let _ = ingest::expire(model, publisher);
                // Whoever else speaks for its worker takes its place.
                if publisher.connection() == Connection::Gone && model.publishers().has_company(publisher) {
                    self.leave(&mut listening, model, publisher);
                }
            }
        }
    }

    fn leave(&self, listening: &mut BTreeMap<Name, Listening>, model: &Model, publisher: &Publisher) {
        let worker = publisher.worker();
        let endpoint = publisher.endpoint().unwrap_or_default().to_owned();
        if let Some(Listening { listener, .. }) = listening.remove(&(model.key().clone(), worker, endpoint)) {
            self.ingest().handle().block_on(listener.stop());
        }
        if ingest::forget(model, publisher).is_ok() {
            tracing::info!(%worker, model = %model.key(), "left a publisher");
        }
        model.publishers().remove(publisher);
    }

    /// Leaves all engines; what they said stays. Waits for the batches at hand.
    pub(super) fn stop(&self) {
        let all = std::mem::take(&mut *self.listening());
        for Listening { listener, .. } in all.into_values() {
            self.ingest().handle().block_on(listener.stop());
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
    /// It is registered with other particulars, or too many publishers speak for its worker.
    Taken {
        /// The worker.
        worker: Worker,
        /// Where the other publishes.
        endpoint: String,
    },
    /// Another publisher of its worker counts copies, and this one does not, or the other way round.
    Copies {
        /// The worker.
        worker: Worker,
        /// Where the other publishes.
        endpoint: String,
    },
    /// The service is ending.
    Closed,
}

impl fmt::Display for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Engine(error) => error.fmt(f),
            Self::Model(error) => error.fmt(f),
            Self::Taken { worker, endpoint } => {
                write!(f, "worker {worker} is registered already, at {endpoint} or otherwise; unregister it first")
            }
            Self::Copies { worker, endpoint } => {
                write!(f, "worker {worker} is registered at {endpoint} with another setting of copies; give the same")
            }
            Self::Closed => f.write_str("the service is ending"),
        }
    }
}

impl std::error::Error for RegisterError {}
