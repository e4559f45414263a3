//! A connection after its handshake.

use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::endpoint::{Endpoint, Stream};
use super::error::Error;
use super::frames::{Arrived, Limits, Message, Reader, encode};
use super::handshake::greet;
use super::role::Role;

/// A connection after its handshake.
pub(in crate::service) struct Connection {
    stream: Box<dyn Stream>,
    reader: Reader,
    /// What is still to be sent.
    unsent: BytesMut,
}

impl Connection {
    /// Connects, within this time.
    pub(in crate::service) async fn connect(
        endpoint: &Endpoint,
        role: Role,
        limits: &Limits,
        patience: Duration,
    ) -> Result<Self, Error> {
        let connect = async { Self::new(endpoint.connect().await?, role, limits).await };
        let late = |_| Error::TimedOut { endpoint: endpoint.to_string(), patience };
        timeout(patience, connect).await.map_err(late)?
    }

    /// Performs the handshake on a stream.
    pub(in crate::service) async fn new(
        mut stream: Box<dyn Stream>,
        role: Role,
        limits: &Limits,
    ) -> Result<Self, Error> {
        let mut reader = Reader::new(limits.clone());
        greet(&mut stream, &mut reader, role).await?;
        Ok(Self { stream, reader, unsent: BytesMut::new() })
    }

    /// Subscribes to all topics with this prefix.
    pub(in crate::service) async fn subscribe(&mut self, topic: &str) -> Result<(), Error> {
        self.send(&[&[&[1], topic.as_bytes()].concat()]).await
    }

    /// Sends a message.
    pub(in crate::service) async fn send(&mut self, frames: &[&[u8]]) -> Result<(), Error> {
        self.unsent.extend_from_slice(&encode(frames, false));
        self.flush().await
    }

    async fn flush(&mut self) -> Result<(), Error> {
        while !self.unsent.is_empty() {
            self.stream.write_buf(&mut self.unsent).await?;
        }
        Ok(())
    }

    /// Waits for the next message. Nothing is lost if the future is dropped before it is ready.
    pub(in crate::service) async fn next(&mut self) -> Result<Message, Error> {
        loop {
            // If the other end sends pings and does not read the answers, nothing is read from it either.
            self.flush().await?;
            match self.reader.next(&mut self.stream).await? {
                Arrived::Message(message) => return Ok(message),
                Arrived::Command(command) => {
                    // A ping has a time of two bytes, and a context that comes back.
                    if let Some(context) = command.strip_prefix(b"\x04PING").and_then(|ping| ping.get(2..)) {
                        let pong = [b"\x04PONG", context].concat();
                        self.unsent.extend_from_slice(&encode(&[&pong], true));
                    }
                }
            }
        }
    }
}
