//! A subscription: the socket, and whether anybody is at its other end.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use zeromq::{Socket, SocketEvent, SocketOptions, SocketRecv, SubSocket, ZmqError};

use super::Source;
use super::replay::last_two;

/// How long to wait for a connection, before the grace period is looked at again.
const CONNECT: Duration = Duration::from_secs(1);

/// What a subscription has to tell.
#[derive(Debug)]
pub(super) enum Heard {
    Batch(u64, Bytes),
    /// A message that is none of a publisher's.
    Noise,
    /// Somebody connected to the socket that is bound here.
    Connected,
    /// The publisher is not connected any more.
    Disconnected,
}

/// A subscription.
pub(super) struct Link {
    socket: SubSocket,
    events: BoxStream<'static, SocketEvent>,
}

impl Link {
    /// Connects, or binds.
    pub(super) async fn open(source: &Source) -> Result<Self, ZmqError> {
        let mut options = SocketOptions::default();
        options.connect_timeout(CONNECT);
        let mut socket = SubSocket::with_options(options);
        let events = socket.monitor().boxed();
        socket.subscribe(&source.topic).await?;
        if source.bind {
            socket.bind(&source.endpoint).await?;
        } else {
            socket.connect(&source.endpoint).await?;
        }
        Ok(Self { socket, events })
    }

    /// Waits for what comes next. Nothing is lost if the wait is given up.
    pub(super) async fn next(&mut self) -> Heard {
        loop {
            tokio::select! {
                event = self.events.next() => match event {
                    Some(SocketEvent::Accepted(..)) => return Heard::Connected,
                    Some(SocketEvent::Disconnected(_)) | None => return Heard::Disconnected,
                    Some(_) => {}
                },
                message = self.socket.recv() => return match message {
                    Ok(message) => match last_two(&message) {
                        // The last number means the end of a replay, and of numbers.
                        Some((sequence, payload)) if sequence < u64::MAX => Heard::Batch(sequence, payload),
                        _ => Heard::Noise,
                    },
                    Err(_) => Heard::Disconnected,
                },
            }
        }
    }
}
