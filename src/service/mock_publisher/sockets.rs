//! The sockets of a rank: one publishes, and one answers requests for replays.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Runtime;
use tokio::time::timeout;
use zeromq::{PubSocket, RouterSocket, Socket, SocketRecv, SocketSend, ZmqError, ZmqMessage};

use super::rank::{Rank, lock};
use crate::service::ingest::Source;

/// How long a client may take to accept a batch of a replay.
const PATIENCE: Duration = Duration::from_secs(5);

/// The sockets of a rank, bound.
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

    /// Publishes a batch. Subscribers that do not keep up miss it.
    pub(super) async fn publish(&mut self, topic: &str, sequence: u64, batch: Bytes) {
        let message = message(vec![Bytes::copy_from_slice(topic.as_bytes()), number(sequence), batch]);
        if let Err(error) = self.publish.send(message).await {
            tracing::debug!("batch {sequence} could not be published: {error}");
        }
    }

    /// Answers requests for replays, one after another, until the runtime ends.
    pub(super) fn answer(&mut self, runtime: &Runtime, topic: String, rank: Arc<Mutex<Rank>>) {
        let Some(mut socket) = self.replay.take() else { return };
        runtime.spawn(async move {
            loop {
                match socket.recv().await {
                    Ok(question) => {
                        // This fails only if the client has gone.
                        let _ = answer(&mut socket, &question, &topic, &rank).await;
                    }
                    Err(error) => tracing::debug!("a request for a replay did not arrive: {error}"),
                }
            }
        });
    }
}

/// Answers as vLLM does. A request has three frames: the client, an empty one, and the first number. Anything else is
/// not answered.
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
