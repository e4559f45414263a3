//! `GET /health` and `GET /ready`: whether the service is alive, and whether it may be sent requests.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;

use super::body;
use super::refusal::Refusal;
use crate::service::indexer::Indexer;

/// How far the service is: it starts, it may be sent requests, it stops.
#[derive(Debug, Default)]
pub(in crate::service) struct Readiness {
    /// There when its state is restored.
    indexer: OnceLock<Arc<Indexer>>,
    stopping: AtomicBool,
}

impl Readiness {
    pub(in crate::service) fn set_restored(&self, indexer: &Arc<Indexer>) {
        // It is restored once.
        let _ = self.indexer.set(Arc::clone(indexer));
    }

    pub(in crate::service) fn set_stopping(&self) {
        self.stopping.store(true, Relaxed);
    }

    /// Returns the indexer, if its state is restored.
    pub(super) fn indexer(&self) -> Option<&Arc<Indexer>> {
        self.indexer.get()
    }

    /// Returns why the service should not be sent requests; `None` if it may be. Waits for nobody.
    fn obstacle(&self) -> Option<String> {
        let Some(indexer) = self.indexer() else { return Some("the state is being restored".to_owned()) };
        if self.stopping.load(Relaxed) {
            return Some("the service is shutting down".to_owned());
        }
        let dead = indexer.models().all().iter().find(|model| !model.index().is_alive()).cloned();
        dead.map(|model| format!("a writer of model {} has died: restart the service", model.key()))
    }
}

/// Answers as long as the process does, once the state is restored: clients of the compatible API wait for this before
/// they send requests.
pub(super) async fn health(State(readiness): State<Arc<Readiness>>) -> StatusCode {
    if readiness.indexer().is_some() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

pub(super) async fn ready(State(readiness): State<Arc<Readiness>>) -> Response {
    match readiness.obstacle() {
        None => body::ok(StatusCode::OK),
        Some(why) => Refusal::busy(why).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::config::Config;

    #[test]
    fn it_is_ready_between_its_beginning_and_its_end() {
        let readiness = Readiness::default();
        assert!(readiness.obstacle().is_some_and(|why| why.contains("restored")));
        let (secrets, _) = Config::default().prepare().expect("good settings");
        readiness.set_restored(&Indexer::start(Config::default(), secrets).expect("it starts"));
        assert_eq!(readiness.obstacle(), None);
        readiness.set_stopping();
        assert!(readiness.obstacle().is_some_and(|why| why.contains("shutting down")));
    }
}
