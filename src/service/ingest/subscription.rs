//! A subscription to one publisher, which notices when its connection is dead.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::time::{Instant, sleep_until};
use zeromq::{Socket, SocketEvent, SocketOptions, SocketRecv, SubSocket, ZmqError};

use super::replay_request::sequence_and_payload;
use super::settings::Source;

/// How long to wait for a connection before the caller checks the grace period again.
const CONNECT: Duration = Duration::from_secs(1);

/// How much later the older of two connections may bring a batch that the newer one has brought.
const BEHIND: Duration = Duration::from_secs(1);

/// What a subscription reports.
#[derive(Debug)]
pub(super) enum Heard {
    Batch(u64, Bytes),
    /// A message that is not a batch.
    Noise,
    /// The publisher has connected to the socket, which is bound here.
    Connected,
    /// The connection was dead, and a newer one has replaced it.
    Renewed,
    /// The publisher is not connected any more.
    Disconnected,
}

/// A subscription to one publisher.
///
/// If a connection is quiet, nobody can tell whether its other end is still there. A second connection is made then,
/// and the next batch decides: if the old connection does not bring it, the new one replaces it.
pub(super) struct Subscription {
    current: MonitoredSocket,
    newer: Option<MonitoredSocket>,
    /// The first batch from the newer one, and until when the current one may still bring it.
    ahead: Option<(Instant, u64, Bytes)>,
    /// The first batch from a newer connection that has replaced the old one; it is reported next.
    first: Option<(u64, Bytes)>,
}

impl Subscription {
    /// Connects to the publisher, or binds for it to connect.
    pub(super) async fn open(source: &Source) -> Result<Self, ZmqError> {
        Ok(Self { current: MonitoredSocket::open(source).await?, newer: None, ahead: None, first: None })
    }

    /// Makes a second connection.
    pub(super) async fn renew(&mut self, source: &Source) -> Result<(), ZmqError> {
        if self.ahead.is_none() {
            self.newer = Some(MonitoredSocket::open(source).await?);
        }
        Ok(())
    }

    /// Waits for what happens next. Nothing is lost if the future is dropped before it is ready.
    pub(super) async fn next(&mut self) -> Heard {
        if let Some((sequence, payload)) = self.first.take() {
            return Heard::Batch(sequence, payload);
        }
        loop {
            let deadline = self.ahead.as_ref().map(|(deadline, ..)| *deadline);
            tokio::select! {
                biased;
                heard = self.current.next() => {
                    match heard {
                        // The current connection works: the second one is not needed.
                        Heard::Batch(..) => (self.newer, self.ahead) = (None, None),
                        Heard::Disconnected if self.newer.is_some() => return self.take_newer(),
                        _ => {}
                    }
                    return heard;
                }
                // Only the first batch is taken from the newer connection: the others wait in its socket until it is
                // known which connection is to be read.
                heard = next_of(&mut self.newer), if deadline.is_none() => match heard {
                    Heard::Batch(sequence, payload) => self.ahead = Some((Instant::now() + BEHIND, sequence, payload)),
                    Heard::Disconnected => self.newer = None,
                    _ => {}
                },
                // The current connection did not bring the batch in time: it is dead.
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    return self.take_newer();
                }
            }
        }
    }

    fn take_newer(&mut self) -> Heard {
        self.current = self.newer.take().expect("there is a newer one");
        self.first = self.ahead.take().map(|(_, sequence, payload)| (sequence, payload));
        Heard::Renewed
    }
}

/// Waits for what a socket hears; for ever if there is no socket.
async fn next_of(subscription: &mut Option<MonitoredSocket>) -> Heard {
    match subscription {
        Some(subscription) => subscription.next().await,
        None => std::future::pending().await,
    }
}

/// A socket that reports whether it is connected.
struct MonitoredSocket {
    socket: SubSocket,
    events: BoxStream<'static, SocketEvent>,
}

impl MonitoredSocket {
    async fn open(source: &Source) -> Result<Self, ZmqError> {
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

    async fn next(&mut self) -> Heard {
        loop {
            tokio::select! {
                event = self.events.next() => match event {
                    Some(SocketEvent::Accepted(..)) => return Heard::Connected,
                    Some(SocketEvent::Disconnected(_)) | None => return Heard::Disconnected,
                    Some(_) => {}
                },
                message = self.socket.recv() => return match message {
                    Ok(message) => match sequence_and_payload(&message) {
                        // The highest number ends replays, so no batch can have it.
                        Some((sequence, payload)) if sequence < u64::MAX => Heard::Batch(sequence, payload),
                        _ => Heard::Noise,
                    },
                    Err(_) => Heard::Disconnected,
                },
            }
        }
    }
}
