//! Asking a publisher for batches that were missed.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::settings::Settings;
use crate::service::zmtp::{Connection, Endpoint, Error, Limits, Message, Role};

/// The sequence number that ends an answer.
const END: u64 = u64::MAX;

/// How long to wait before the second attempt; each further one waits longer.
const PAUSE: Duration = Duration::from_millis(200);

/// A part of an answer.
#[derive(Debug)]
pub(super) enum Answer {
    Batch(u64, Bytes),
    End,
    /// There was no answer, or it broke off.
    Failed(Failure),
    /// It went on for longer than an answer may take.
    Endless,
}

/// A request for a replay. Each has a connection of its own, so answers to different requests cannot be
/// confused. Dropping it closes the connection.
#[derive(Debug)]
pub(super) struct ReplayRequest {
    answers: Receiver<Answer>,
    task: AbortHandle,
}

/// Why a replay was not answered.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Connection(#[from] Error),
    #[error("no answer within {0:?}")]
    Silent(Duration),
    #[error("what it answers is no batch")]
    NoBatch,
    #[error("the numbers in its answer do not rise")]
    Order,
    #[error("the task that asked for it ended")]
    Gone,
}

impl ReplayRequest {
    /// Asks for every batch from `from` on.
    pub(super) fn ask(endpoint: String, from: u64, attempt: u32, settings: &Arc<Settings>, limits: Limits) -> Self {
        // A batch is taken before the next one is read, so that the publisher waits, and not its batches in memory.
        let (sender, answers) = channel(1);
        let settings = Arc::clone(settings);
        let task = tokio::spawn(async move {
            sleep(PAUSE * attempt).await;
            let answer = answer(&endpoint, from, settings.replay_timeout, limits, &sender);
            let end = match timeout(settings.replay_whole, answer).await {
                Ok(Ok(())) => Answer::End,
                Ok(Err(failure)) => Answer::Failed(failure),
                Err(_) => Answer::Endless,
            };
            // This fails only if the request was dropped.
            let _ = sender.send(end).await;
        });
        Self { answers, task: task.abort_handle() }
    }

    /// Waits for the next part of the answer.
    pub(super) async fn next(&mut self) -> Answer {
        self.answers.recv().await.unwrap_or(Answer::Failed(Failure::Gone))
    }
}

impl Drop for ReplayRequest {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Asks, and passes the batches on. Fails if the answer does not arrive whole.
async fn answer(
    endpoint: &str,
    from: u64,
    patience: Duration,
    limits: Limits,
    sender: &Sender<Answer>,
) -> Result<(), Failure> {
    let silent = |_| Failure::Silent(patience);
    let endpoint = Endpoint::parse(endpoint)?;
    let mut socket = Connection::connect(&endpoint, Role::Dealer, &limits, patience).await?;
    timeout(patience, socket.send(&[b"", &from.to_be_bytes()])).await.map_err(silent)??;
    let mut last = None;
    loop {
        let message = timeout(patience, socket.next()).await.map_err(silent)??;
        // Anything else is not the answer of a publisher.
        let (sequence, payload) = sequence_and_payload(&message).ok_or(Failure::NoBatch)?;
        if sequence == END {
            return Ok(());
        }
        // Numbers that rise come to an end. Others could go on for ever, and would bring nothing new.
        if last.replace(sequence).is_some_and(|last| sequence <= last) {
            return Err(Failure::Order);
        }
        if sender.send(Answer::Batch(sequence, payload)).await.is_err() {
            return Err(Failure::Gone);
        }
    }
}

/// Returns the sequence number and the payload of a message: its last two frames, whatever comes before them.
pub(super) fn sequence_and_payload(message: &Message) -> Option<(u64, Bytes)> {
    let [.., sequence, payload] = message.as_slice() else { return None };
    Some((u64::from_be_bytes(sequence.as_ref().try_into().ok()?), payload.clone()))
}
