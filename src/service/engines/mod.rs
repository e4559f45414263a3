//! The engines that the service listens to.

mod engine;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use engine::{Engine, EngineError, Ignored};

use crate::event::Worker;
use crate::index::Closed;
use crate::service::files::Files;
use crate::service::ingest::{self, Ingest, Listener};
use crate::service::models::{Key, Model, ModelError, Models, NoRoom};
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

    /// Returns how many bytes of engines' messages are in memory.
    pub(in crate::service) fn message_bytes(&self) -> usize {
        self.ingest().bytes()
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
        let engine = Engine { tenant_id: Key::tenant(&engine.tenant_id).to_owned(), ..engine };
        let key = engine.key();
        // No model is removed while this is held.
        let mut listening = self.listening();
        let model = models.get_or_add(&key, engine.block_size)?;
        let registered = self.listen(&mut listening, model, engine);
        if registered.is_err() {
            models.remove_if_abandoned(&key);
        }
        registered
    }

    fn listen(
        &self,
        listening: &mut BTreeMap<Name, Listening>,
        model: Arc<Model>,
        engine: Engine,
    ) -> Result<(), RegisterError> {
        let worker = engine.worker();
        let name = (engine.key(), worker, engine.endpoint.clone());
        let taken = |endpoint: &str| RegisterError::Taken { worker, endpoint: endpoint.to_owned() };
        match listening.get(&name) {
            Some(known) if known.engine == engine => return Ok(()),
            Some(known) => return Err(taken(&known.engine.endpoint)),
            None if listening.len() >= self.files.engines => {
                let Files { engines, limit, .. } = self.files;
                return Err(RegisterError::TooMany { engines, limit });
            }
            None => {}
        }
        let mut others = model.publishers().of(worker);
        let same = others.iter().any(|other| other.endpoint() == Some(&engine.endpoint));
        // A publisher that is gone gives up its seat.
        if let Some(gone) = others.iter().position(|other| !same && other.connection() == Connection::Gone) {
            self.leave(listening, &model, &others.remove(gone));
        }
        let zmq = others.iter().filter(|other| other.endpoint().is_some());
        if let Some(other) = zmq.into_iter().find(|other| other.counts_copies() != (engine.copies == Copies::Counted)) {
            return Err(RegisterError::Copies { worker, endpoint: other.endpoint().unwrap_or_default().to_owned() });
        }
        if let Some(other) = model.publishers().speaker(worker).filter(|other| other.worker() != worker) {
            ingest::give_up(&model, &other, worker)?;
        }
        let publisher = match ingest::enter(&model, worker, &engine.endpoint, engine.copies)? {
            Ok(publisher) => publisher,
            Err(NoRoom::Publishers) => {
                return Err(taken(others.last().and_then(|other| other.endpoint()).unwrap_or_default()));
            }
            Err(no_room) => return Err(no_room.into()),
        };
        let listener = self.ingest().listen(engine.source(), model, publisher, None);
        tracing::info!(%worker, model = %engine.key(), endpoint = engine.endpoint, "listening to an engine");
        listening.insert(name, Listening { engine, listener });
        Ok(())
    }

    /// Stops listening to publishers and forgets what they hold; returns how many they were. Models that have no
    /// publishers any more are removed. Waits for batches that are being handed over, and until no lookup finds anything
    /// of the publishers.
    pub(in crate::service) fn unregister(&self, models: &Models, selection: Selection<'_>) -> usize {
        let mut left = 0;
        for model in models.all().iter().filter(|model| selection.has_model(model.key())) {
            let mut listening = self.listening();
            let mut selected = model.publishers().of_instance(selection.instance);
            selected.retain(|publisher| selection.has_worker(publisher.worker()));
            for publisher in &selected {
                self.leave(&mut listening, model, publisher);
            }
            left += selected.len();
            models.remove_if_abandoned(model.key());
            drop(listening);
            if !selected.is_empty() {
                // This fails only if the model was shut down, and then nothing of it is found.
                let _ = model.index().flush();
            }
        }
        left
    }

    /// Drops unreachable publishers that no listener follows, with what they hold: they were copied from a peer and not
    /// heard since. Called when the grace period after the copy is over; listeners look after their own publishers.
    ///
    /// Models that have no publishers are removed. So are those that never had any: a snapshot or a dump may list some.
    pub(in crate::service) fn expire_unheard(&self, models: &Models) {
        for model in models.all().iter() {
            let listening = self.listening();
            for publisher in model.publishers().all() {
                let endpoint = publisher.endpoint().unwrap_or_default().to_owned();
                if !listening.contains_key(&(model.key().clone(), publisher.worker(), endpoint)) {
                    // This fails only if the model was shut down, and then it holds nothing.
                    let _ = ingest::forget_unheard(model, &publisher);
                }
            }
            models.remove_if_abandoned(model.key());
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
    /// The model has as many workers as it may have.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::Index;

    fn engine(port: u16, copies: Copies) -> Engine {
        let endpoint = format!("tcp://127.0.0.1:{port}");
        Engine {
            instance_id: 7,
            endpoint,
            model_name: "m".to_owned(),
            routing_group: "default".to_owned(),
            block_size: 4,
            copies,
            ..Engine::default()
        }
    }

    #[test]
    fn a_publisher_that_is_gone_does_not_decide_how_its_successor_counts() {
        let engines = Engines::start(ingest::Settings::default(), Files::share(1)).expect("threads");
        let models = Models::new(Index::builder(), 1);
        engines.register(&models, engine(1, Copies::Counted)).expect("the first");
        let other =
            engines.register(&models, engine(2, Copies::Single)).expect_err("its other publisher counts copies");
        assert!(matches!(other, RegisterError::Copies { .. }));
        models.all()[0].publishers().all()[0].set_connection(Connection::Gone);
        engines.register(&models, engine(2, Copies::Single)).expect("the other one is gone");
        let publishers = models.all()[0].publishers().all();
        assert_eq!(
            publishers.iter().map(|publisher| publisher.endpoint()).collect::<Vec<_>>(),
            [Some("tcp://127.0.0.1:2")]
        );
        engines.stop();
    }
}
