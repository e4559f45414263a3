//! The engines that the service listens to.

mod engine;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use engine::{Engine, EngineError};

use crate::event::Worker;
use crate::index::Closed;
use crate::service::files::Files;
use crate::service::ingest::{self, Ingest, Listener};
use crate::service::models::{Key, Model, ModelError, Models};
use crate::service::publisher::{Connection, Copies, Publisher};

/// The engines that the service listens to, by model, worker and endpoint.
#[derive(Debug)]
pub(in crate::service) struct Engines {
    /// `None` only while this is dropped.
    ingest: Option<Ingest>,
    listening: Mutex<BTreeMap<Name, Listening>>,
    files: Files,
}

type Name = (Key, Worker, String);

#[derive(Debug)]
struct Listening {
    engine: Engine,
    listener: Listener,
}

/// Which publishers a request is about.
#[derive(Clone, Copy, Debug)]
pub(in crate::service) struct Selection<'a> {
    pub(in crate::service) instance: u64,
    pub(in crate::service) model: &'a str,
    /// All groups if `None`.
    pub(in crate::service) group: Option<&'a str>,
    pub(in crate::service) tenant: &'a str,
    /// All ranks if `None`.
    pub(in crate::service) dp_rank: Option<u32>,
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
    pub(in crate::service) fn start(settings: ingest::Settings, files: Files) -> io::Result<Self> {
        Ok(Self { ingest: Some(Ingest::start(settings)?), listening: Mutex::default(), files })
    }

    fn listening(&self) -> MutexGuard<'_, BTreeMap<Name, Listening>> {
        self.listening.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ingest(&self) -> &Ingest {
        self.ingest.as_ref().expect("only the drop takes it")
    }

    /// Returns all engines as they were registered.
    pub(in crate::service) fn all(&self) -> Vec<Engine> {
        self.listening().values().map(|listening| listening.engine.clone()).collect()
    }

    /// Listens to an engine.
    ///
    /// An engine that is registered with the same settings is left alone. If an engine at this endpoint is known from a
    /// snapshot or a peer, the listener continues where that one was. An engine at another endpoint speaks for the same
    /// worker: it is an offloading connector, or the same engine at a new address, until the old one counts as gone.
    pub(in crate::service) fn register(&self, models: &Models, engine: Engine) -> Result<(), RegisterError> {
        engine.check()?;
        let worker = engine.worker();
        let name = (engine.key(), worker, engine.endpoint.clone());
        let taken = |endpoint: &str| RegisterError::Taken { worker, endpoint: endpoint.to_owned() };
        // No model is removed while this is held.
        let mut listening = self.listening();
        let model = models.get_or_add(&engine.key(), engine.block_size)?;
        match listening.get(&name) {
            Some(known) if known.engine == engine => return Ok(()),
            Some(known) => return Err(taken(&known.engine.endpoint)),
            None if listening.len() >= self.files.engines => {
                let Files { engines, limit, .. } = self.files;
                return Err(RegisterError::TooMany { engines, limit });
            }
            None => {}
        }
        let others = model.publishers().of(worker);
        let same = others.iter().any(|other| other.endpoint() == Some(&engine.endpoint));
        // A publisher that is gone gives up its seat.
        if let Some(gone) = others.iter().find(|other| !same && other.connection() == Connection::Gone) {
            self.leave(&mut listening, &model, gone);
        }
        let zmq = others.iter().filter(|other| other.endpoint().is_some());
        if let Some(other) = zmq.into_iter().find(|other| other.counts_copies() != (engine.copies == Copies::Counted)) {
            return Err(RegisterError::Copies { worker, endpoint: other.endpoint().unwrap_or_default().to_owned() });
        }
        if let Some(other) = model.publishers().speaker(worker).filter(|other| other.worker() != worker) {
            ingest::give_up(&model, &other, worker)?;
        }
        let entered = ingest::enter(&model, worker, Some(&engine.endpoint), engine.copies)?;
        let last = others.last().and_then(|other| other.endpoint());
        let publisher = entered.ok_or_else(|| taken(last.unwrap_or_default()))?;
        let listener = self.ingest().listen(engine.source(), model, publisher, None);
        tracing::info!(%worker, model = %engine.key(), endpoint = engine.endpoint, "listening to an engine");
        listening.insert(name, Listening { engine, listener });
        Ok(())
    }

    /// Stops listening to publishers and forgets what they hold; returns how many they were. Models that have no
    /// publishers any more are removed. Waits for batches that are being handed over, and for the writers.
    pub(in crate::service) fn unregister(&self, models: &Models, selection: Selection<'_>) -> usize {
        let mut left = 0;
        for model in models.all().iter().filter(|model| selection.has_model(model.key())) {
            let mut listening = self.listening();
            for publisher in
                model.publishers().all().iter().filter(|publisher| selection.has_worker(publisher.worker()))
            {
                self.leave(&mut listening, model, publisher);
                left += 1;
            }
            models.remove_if_abandoned(model.key());
        }
        left
    }

    /// Drops what unreachable publishers hold that no listener follows: they were copied from a peer and not heard
    /// since. Called when the grace period after the copy is over; listeners look after their own publishers.
    pub(in crate::service) fn expire_unheard(&self, models: &Models) {
        for model in models.all().iter() {
            let mut listening = self.listening();
            for publisher in
                model.publishers().all().iter().filter(|publisher| publisher.connection() == Connection::Unreachable)
            {
                let endpoint = publisher.endpoint().unwrap_or_default().to_owned();
                if listening.contains_key(&(model.key().clone(), publisher.worker(), endpoint)) {
                    continue;
                }
                // This fails only if the model was shut down, and then it holds nothing.
                let _ = ingest::expire(model, publisher);
                // Another publisher speaks for its worker, so nothing is lost without this one.
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
            tracing::info!(%worker, model = %model.key(), "stopped listening to a publisher");
        }
        model.publishers().remove(publisher);
    }

    /// Stops listening to all engines, and keeps what they hold. Waits for batches that are being handed over.
    pub(in crate::service) fn stop(&self) {
        let all = std::mem::take(&mut *self.listening());
        for Listening { listener, .. } in all.into_values() {
            self.ingest().handle().block_on(listener.stop());
        }
    }
}

impl Drop for Engines {
    fn drop(&mut self) {
        // The last reference may be that of a request, on a thread that must not block until other threads end.
        if let Some(ingest) = self.ingest.take() {
            ingest.shutdown();
        }
    }
}

/// Why an engine is not listened to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// It cannot be subscribed to.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// There is no index for it.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// It is registered with other settings, or too many publishers speak for its worker.
    #[error("worker {worker} is already registered, at {endpoint} or with other settings; unregister it first")]
    Taken {
        /// The worker.
        worker: Worker,
        /// Where the other publishes.
        endpoint: String,
    },
    /// Another publisher of its worker counts copies and this one does not, or the other way round.
    #[error("worker {worker} is registered at {endpoint} with another value of copies; give the same value")]
    Copies {
        /// The worker.
        worker: Worker,
        /// Where the other publishes.
        endpoint: String,
    },
    /// Each engine needs files that the process may have open, and there are too few for one more.
    #[error(
        "{engines} engines are listened to, and the limit of {limit} open files allows no more: raise it (`ulimit -n`, \
         or LimitNOFILE of systemd)"
    )]
    TooMany {
        /// How many may be listened to.
        engines: usize,
        /// How many files may be open.
        limit: usize,
    },
    /// The service is shutting down.
    #[error("the service is shutting down")]
    Closed(#[from] Closed),
}
