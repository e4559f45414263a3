//! Asking a publisher for batches that were missed.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use zeromq::{DealerSocket, Socket, SocketOptions, SocketRecv, SocketSend, ZmqMessage};

/// The sequence number that ends an answer.
const END: u64 = u64::MAX;

/// How many batches of an answer wait to be taken. Beyond it, the publisher waits.
const WAITING: usize = 64;

/// How long to wait before the second attempt; each further one waits longer.
const PAUSE: Duration = Duration::from_millis(200);

/// A part of an answer.
#[derive(Debug)]
pub(super) enum Answer {
    Batch(u64, Bytes),
    End,
    /// There was no answer, or it broke off.
    Failed,
}

/// A request for a replay. Each has a connection of its own, so answers to different requests cannot be
/// confused. Dropping it closes the connection.
#[derive(Debug)]
pub(super) struct ReplayRequest {
    answers: Receiver<Answer>,
    task: AbortHandle,
}

impl ReplayRequest {
    /// Asks for every batch from `from` on.
    pub(super) fn ask(endpoint: String, from: u64, attempt: u32, patience: Duration) -> Self {
        let (sender, answers) = channel(WAITING);
        let task = tokio::spawn(async move {
            sleep(PAUSE * attempt).await;
            let end = match answer(&endpoint, from, patience, &sender).await {
                Some(()) => Answer::End,
                None => Answer::Failed,
            };
            // This fails only if the request was dropped.
            let _ = sender.send(end).await;
        });
        Self { answers, task: task.abort_handle() }
    }

    /// Waits for the next part of the answer.
    pub(super) async fn next(&mut self) -> Answer {
        self.answers.recv().await.unwrap_or(Answer::Failed)
    }
}

impl Drop for ReplayRequest {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Asks, and passes the batches on. Returns `None` if the answer does not arrive whole.
async fn answer(endpoint: &str, from: u64, patience: Duration, sender: &Sender<Answer>) -> Option<()> {
    let mut options = SocketOptions::default();
    options.connect_timeout(patience);
    let mut socket = DealerSocket::with_options(options);
    socket.connect(endpoint).await.ok()?;
    let question = vec![Bytes::new(), Bytes::copy_from_slice(&from.to_be_bytes())];
    let question = ZmqMessage::try_from(question).ok()?;
    timeout(patience, socket.send(question)).await.ok()?.ok()?;
    loop {
        let message = timeout(patience, socket.recv()).await.ok()?.ok()?;
        // Anything else is not the answer of a publisher.
        let (sequence, payload) = sequence_and_payload(&message)?;
        if sequence == END {
            return Some(());
        }
        sender.send(Answer::Batch(sequence, payload)).await.ok()?;
    }
}

/// Returns the sequence number and the payload of a message: its last two frames, whatever comes before them.
pub(super) fn sequence_and_payload(message: &ZmqMessage) -> Option<(u64, Bytes)> {
    let place = message.len().checked_sub(2)?;
    let sequence = message.get(place)?.as_ref().try_into().ok()?;
    Some((u64::from_be_bytes(sequence), message.get(place + 1)?.clone()))
}
