//! Following one publisher for as long as it is registered, whatever happens.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::Shared;
use super::follower::{Follower, PAUSE};
use super::settings::Source;
use crate::service::doubt::Doubt;
use crate::service::models::Model;
use crate::service::publisher::{Connection, Count, Publisher};

/// Follows one publisher until it is [stopped](Self::stop) or dropped. What it has handed over stays in the index.
#[derive(Debug)]
pub struct Listener {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Listener {
    pub(super) fn spawn(
        runtime: &Handle,
        source: Source,
        model: Arc<Model>,
        publisher: Arc<Publisher>,
        shared: Arc<Shared>,
    ) -> Self {
        let (stop, stopped) = oneshot::channel();
        let follow =
            move || Follower::new(source.clone(), Arc::clone(&model), Arc::clone(&publisher), Arc::clone(&shared));
        Self { stop, task: runtime.spawn(supervise(follow, stopped)) }
    }

    /// Stops the listener, and returns when no further batch will be handed over.
    pub async fn stop(self) {
        drop(self.stop);
        // An error means that the task panicked, which the panic hook has reported.
        let _ = self.task.await;
    }
}

/// Follows a publisher until the listener is stopped. If following it panics, which only a defect of the service can
/// cause, nobody knows what became of the batch at hand: the listener marks the publisher, and follows it again from
/// the next batch on.
async fn supervise(follow: impl Fn() -> Follower, mut stop: oneshot::Receiver<()>) {
    loop {
        let follower = follow();
        let publisher = Arc::clone(follower.publisher());
        let (end, ended) = oneshot::channel();
        let mut following = tokio::spawn(follower.run(ended));
        let result = tokio::select! {
            biased;
            _ = &mut stop => {
                drop(end);
                // The batch at hand is handed over first.
                let _ = following.await;
                return;
            }
            result = &mut following => result,
        };
        match result {
            Ok(()) => {
                // The index takes nothing more: it was shut down, or its writer has died.
                publisher.doubt(Doubt::Failure);
                publisher.set_connection(Connection::Unreachable);
                return;
            }
            Err(panic) => {
                tracing::error!(worker = %publisher.worker(), %panic, "following a publisher failed; it is followed again");
                publisher.add(Count::Failures, 1);
                publisher.doubt(Doubt::Failure);
                publisher.set_connection(Connection::Unreachable);
                sleep(PAUSE).await;
            }
        }
    }
}
