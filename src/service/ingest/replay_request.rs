//! Asking a publisher for batches again.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use zeromq::{DealerSocket, Socket, SocketOptions, SocketRecv, SocketSend, ZmqMessage};

/// What the sequence number of an answer's end is.
const END: u64 = u64::MAX;

/// Answers that wait for whoever asked; beyond it the publisher waits.
const WAITING: usize = 64;

/// Between attempts.
const PAUSE: Duration = Duration::from_millis(200);

/// A part of the answer.
#[derive(Debug)]
pub(super) enum Answer {
    Batch(u64, Bytes),
    End,
    /// No answer, or no more of it.
    Failed,
}

/// A question on its way. Every one has a connection of its own, so that no answer is taken for another's; dropping it
/// ends that.
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
            // Nobody is waiting for it any more if this fails.
            let _ = sender.send(end).await;
        });
        Self { answers, task: task.abort_handle() }
    }

    pub(super) async fn next(&mut self) -> Answer {
        self.answers.recv().await.unwrap_or(Answer::Failed)
    }
}

impl Drop for ReplayRequest {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Passes the batches on; `None` if there is no end of them.
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
        // Anything else would be another protocol's.
        let (sequence, payload) = last_two(&message)?;
        if sequence == END {
            return Some(());
        }
        sender.send(Answer::Batch(sequence, payload)).await.ok()?;
    }
}

/// The sequence number and the payload: the last two frames, whatever comes before them.
pub(super) fn last_two(message: &ZmqMessage) -> Option<(u64, Bytes)> {
    let place = message.len().checked_sub(2)?;
    let sequence = message.get(place)?.as_ref().try_into().ok()?;
    Some((u64::from_be_bytes(sequence), message.get(place + 1)?.clone()))
}
