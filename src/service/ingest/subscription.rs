//! A subscription: the socket, and whether anybody is at its other end.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::time::{Instant, sleep_until};
use zeromq::{Socket, SocketEvent, SocketOptions, SocketRecv, SubSocket, ZmqError};

use super::Source;
use super::replay_request::last_two;

/// How long to wait for a connection, before the grace period is looked at again.
const CONNECT: Duration = Duration::from_secs(1);

/// How much later the older of two subscriptions may hear what the newer one heard.
const BEHIND: Duration = Duration::from_secs(1);

/// What a subscription has to tell.
#[derive(Debug)]
pub(super) enum Heard {
    Batch(u64, Bytes),
    /// A message that is none of a publisher's.
    Noise,
    /// Somebody connected to the socket that is bound here.
    Connected,
    /// The connection was dead, and another one has taken its place.
    Renewed,
    /// The publisher is not connected any more.
    Disconnected,
}

/// A subscription, and perhaps a newer one to the same publisher: of a quiet connection nobody can say whether its other
/// end is still there. Whichever hears the next batch tells.
pub(super) struct Subscription {
    current: MonitoredSocket,
    newer: Option<MonitoredSocket>,
    /// What the newer one heard, and until when the current one may hear it, too.
    ahead: Option<(Instant, u64, Bytes)>,
    /// What the newer one heard before it became the current one.
    first: Option<(u64, Bytes)>,
}

impl Subscription {
    /// Connects, or binds.
    pub(super) async fn open(source: &Source) -> Result<Self, ZmqError> {
        Ok(Self { current: MonitoredSocket::open(source).await?, newer: None, ahead: None, first: None })
    }

    /// Connects once more, beside the connection that is there.
    pub(super) async fn renew(&mut self, source: &Source) -> Result<(), ZmqError> {
        if self.ahead.is_none() {
            self.newer = Some(MonitoredSocket::open(source).await?);
        }
        Ok(())
    }

    /// Waits for what comes next. Nothing is lost if the wait is given up.
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
                        Heard::Batch(..) => (self.newer, self.ahead) = (None, None),
                        Heard::Disconnected if self.newer.is_some() => return self.take_newer(),
                        _ => {}
                    }
                    return heard;
                }
                heard = next_of(&mut self.newer), if deadline.is_none() => match heard {
                    Heard::Batch(sequence, payload) => self.ahead = Some((Instant::now() + BEHIND, sequence, payload)),
                    Heard::Disconnected => self.newer = None,
                    _ => {}
                },
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

/// What a subscription hears; waits for ever if there is none.
async fn next_of(subscription: &mut Option<MonitoredSocket>) -> Heard {
    match subscription {
        Some(subscription) => subscription.next().await,
        None => std::future::pending().await,
    }
}

/// A socket, and whether anybody is at its other end.
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
