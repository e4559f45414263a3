//! A rank's sockets: one that publishes, one that answers.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Runtime;
use tokio::time::timeout;
use zeromq::{PubSocket, RouterSocket, Socket, SocketRecv, SocketSend, ZmqError, ZmqMessage};

use super::lock;
use super::rank::Rank;
use crate::service::ingest::Source;

/// How long whoever asked may take to take a batch.
const PATIENCE: Duration = Duration::from_secs(5);

/// Both of them, bound.
pub(super) struct Sockets {
    publish: PubSocket,
    replay: Option<RouterSocket>,
}

impl Sockets {
    pub(super) async fn bind(source: &Source) -> Result<Self, ZmqError> {
        let mut publish = PubSocket::new();
        publish.bind(&source.endpoint).await?;
        let mut replay = None;
        if let Some(endpoint) = &source.replay {
            let socket = replay.insert(RouterSocket::new());
            socket.bind(endpoint).await?;
        }
        Ok(Self { publish, replay })
    }

    /// Publishes a batch. Whoever does not keep up misses it.
    pub(super) async fn say(&mut self, topic: &str, sequence: u64, batch: Bytes) {
        let message = message(vec![Bytes::copy_from_slice(topic.as_bytes()), number(sequence), batch]);
        if let Err(error) = self.publish.send(message).await {
            tracing::debug!("batch {sequence} did not get through: {error}");
        }
    }

    /// Answers whoever asks for what was missed, one after another, until the runtime ends.
    pub(super) fn answer(&mut self, runtime: &Runtime, topic: String, rank: Arc<Mutex<Rank>>) {
        let Some(mut socket) = self.replay.take() else { return };
        runtime.spawn(async move {
            loop {
                match socket.recv().await {
                    Ok(question) => {
                        // Whoever asked has gone, if this fails.
                        let _ = answer(&mut socket, &question, &topic, &rank).await;
                    }
                    Err(error) => tracing::debug!("a question did not get through: {error}"),
                }
            }
        });
    }
}

/// As vLLM does: who asks, nothing, the first number; anything else is not answered.
async fn answer(socket: &mut RouterSocket, question: &ZmqMessage, topic: &str, rank: &Mutex<Rank>) -> Option<()> {
    let [who, nothing, from] = <[Bytes; 3]>::try_from(question.clone().into_vec()).ok()?;
    let from = u64::from_be_bytes(from.as_ref().try_into().ok()?);
    if !nothing.is_empty() {
        return None;
    }
    let batches = lock(rank).replay(from);
    let topic = Bytes::copy_from_slice(topic.as_bytes());
    let batches = batches.into_iter().map(|(sequence, batch)| (topic.clone(), sequence, batch));
    for (topic, sequence, batch) in batches.chain([(Bytes::new(), u64::MAX, Bytes::new())]) {
        let message = message(vec![who.clone(), Bytes::new(), topic, number(sequence), batch]);
        timeout(PATIENCE, socket.send(message)).await.ok()?.ok()?;
    }
    Some(())
}

fn number(sequence: u64) -> Bytes {
    Bytes::copy_from_slice(&sequence.to_be_bytes())
}

fn message(frames: Vec<Bytes>) -> ZmqMessage {
    ZmqMessage::try_from(frames).expect("there is a frame")
}
