//! A subscription to one publisher, which notices when its connection is dead.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep_until};

use super::binding::{Arrival, Binding, Bindings};
use super::replay_request::sequence_and_payload;
use super::settings::Source;
use crate::service::zmtp::{Connection, Endpoint, Error, Limits, Message, Role};

/// How long it may take to connect.
const CONNECT: Duration = Duration::from_secs(5);

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
    Disconnected(Error),
}

/// A subscription to one publisher.
pub(super) enum Subscription {
    /// This end has connected.
    To(Box<Connected>),
    /// The publisher connects, to a socket that it may share with others.
    At(Binding),
}

/// A connection to a publisher, or two of them.
///
/// If a connection is quiet, nobody can tell whether its other end is still there. A second connection is made then,
/// and the next batch decides: if the old connection does not bring it, the new one replaces it.
pub(super) struct Connected {
    current: Connection,
    newer: Option<Connection>,
    /// The first batch from the newer one, and until when the current one may still bring it.
    ahead: Option<(Instant, u64, Bytes)>,
    /// The first batch from a newer connection that has replaced the old one; it is reported next.
    first: Option<(u64, Bytes)>,
}

impl Subscription {
    /// Connects to the publisher, or binds for it to connect.
    pub(super) async fn open(source: &Source, limits: &Limits, bindings: &Bindings) -> Result<Self, Error> {
        if source.bind {
            return Ok(Self::At(bindings.subscribe(&source.endpoint, &source.topic).await?));
        }
        let current = connect(source, limits).await?;
        Ok(Self::To(Box::new(Connected { current, newer: None, ahead: None, first: None })))
    }

    /// Makes a second connection, unless there is one or the publisher connects.
    pub(super) async fn renew(&mut self, source: &Source, limits: &Limits) -> Result<(), Error> {
        if let Self::To(connected) = self
            && connected.ahead.is_none()
        {
            connected.newer = Some(connect(source, limits).await?);
        }
        Ok(())
    }

    /// Waits for what happens next. Nothing is lost if the future is dropped before it is ready.
    pub(super) async fn next(&mut self) -> Heard {
        match self {
            Self::To(connected) => connected.next().await,
            Self::At(binding) => match binding.next().await {
                Arrival::Connected => Heard::Connected,
                Arrival::Message(message) => heard(Ok(message)),
                Arrival::Disconnected(error) => Heard::Disconnected(error),
            },
        }
    }
}

impl Connected {
    async fn next(&mut self) -> Heard {
        if let Some((sequence, payload)) = self.first.take() {
            return Heard::Batch(sequence, payload);
        }
        loop {
            let deadline = self.ahead.as_ref().map(|(deadline, ..)| *deadline);
            tokio::select! {
                biased;
                message = self.current.next() => {
                    let heard = heard(message);
                    match heard {
                        // The current connection works: the second one is not needed.
                        Heard::Batch(..) => (self.newer, self.ahead) = (None, None),
                        Heard::Disconnected(_) if self.newer.is_some() => return self.take_newer(),
                        _ => {}
                    }
                    return heard;
                }
                // Only the first batch is taken from the newer connection: the others wait in its socket until it is
                // known which connection is to be read.
                heard = next_of(&mut self.newer), if deadline.is_none() => match heard {
                    Heard::Batch(sequence, payload) => self.ahead = Some((Instant::now() + BEHIND, sequence, payload)),
                    Heard::Disconnected(_) => self.newer = None,
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

async fn connect(source: &Source, limits: &Limits) -> Result<Connection, Error> {
    let endpoint = Endpoint::parse(&source.endpoint)?;
    let mut connection = Connection::connect(&endpoint, Role::Subscriber, limits, CONNECT).await?;
    connection.subscribe(&source.topic).await?;
    Ok(connection)
}

/// Waits for what a connection hears; for ever if there is none.
async fn next_of(connection: &mut Option<Connection>) -> Heard {
    match connection {
        Some(connection) => heard(connection.next().await),
        None => std::future::pending().await,
    }
}

fn heard(message: Result<Message, Error>) -> Heard {
    match message.as_ref().map(sequence_and_payload) {
        // The highest number ends replays, so no batch can have it.
        Ok(Some((sequence, payload))) if sequence < u64::MAX => Heard::Batch(sequence, payload),
        Ok(_) => Heard::Noise,
        Err(_) => Heard::Disconnected(message.expect_err("it is an error")),
    }
}
