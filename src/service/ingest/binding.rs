//! Sockets that the service binds, so that publishers connect to them. Several publishers may share one: the topic
//! tells them apart.
//!
//! Engines behind a load balancer or in pods are deployed like this: all of them connect to one address, and put
//! their name into the topic, as in `kv@10.0.0.7:8000@model`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use crate::service::zmtp::{self, Connection, Endpoint, Error, Limits, Message, Role, Stream};

/// How long the handshake of a new connection may take.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// The most connections to all bound sockets together.
const MAX_CONNECTIONS: usize = 1024;

/// How long a connection may say nothing for any publisher. A publisher whose connection is closed for that connects
/// again.
const IDLE: Duration = Duration::from_secs(60);

/// What ends the part of a topic that a registration may leave open.
const SEPARATORS: &[u8] = b"@/:|";

/// The sockets that are bound.
#[derive(Debug)]
pub(super) struct Bindings {
    limits: Limits,
    permits: Arc<Semaphore>,
    /// By endpoint. An async lock, because it is held while a socket is bound.
    open: tokio::sync::Mutex<HashMap<String, Weak<Shared>>>,
}

/// One publisher's part of a bound socket.
pub(super) struct Binding {
    shared: Arc<Shared>,
    seat: u64,
    arrivals: Receiver<(u64, Arrival)>,
    /// The connection that speaks for the publisher: the last one that began to.
    current: Option<u64>,
    /// The message with which a connection became the current one; it is reported next.
    first: Option<Arrival>,
    topic: String,
    /// Messages from other connections than the current one.
    ignored: u64,
}

/// What happens on a bound socket that concerns one publisher.
#[derive(Debug)]
pub(super) enum Arrival {
    Connected,
    Message(Message),
    Disconnected(Error),
}

/// A bound socket.
#[derive(Debug)]
struct Shared {
    seats: Arc<Mutex<Seats>>,
    /// The task that owns the socket and all connections to it.
    accepting: AbortHandle,
}

#[derive(Debug, Default)]
struct Seats {
    all: Vec<Seat>,
    last: u64,
}

#[derive(Clone, Debug)]
struct Seat {
    number: u64,
    topic: String,
    arrivals: Sender<(u64, Arrival)>,
}

impl Bindings {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, permits: Arc::new(Semaphore::new(MAX_CONNECTIONS)), open: tokio::sync::Mutex::default() }
    }

    /// Takes part in the socket at this endpoint, and binds it if nobody has yet. Dropping the binding ends this part,
    /// and dropping the last one closes the socket.
    pub(super) async fn subscribe(&self, endpoint: &str, topic: &str) -> Result<Binding, Error> {
        let mut open = self.open.lock().await;
        open.retain(|_, shared| shared.strong_count() > 0);
        let known = open.get(endpoint).and_then(Weak::upgrade);
        let shared = if let Some(shared) = known {
            shared
        } else {
            let listener = Endpoint::parse(endpoint)?.bind().await?;
            let seats = Arc::default();
            let door = Door {
                endpoint: endpoint.to_owned(),
                seats: Arc::clone(&seats),
                limits: self.limits.clone(),
                permits: Arc::clone(&self.permits),
            };
            let accepting = tokio::spawn(Arc::new(door).accept(listener)).abort_handle();
            let shared = Arc::new(Shared { seats, accepting });
            open.insert(endpoint.to_owned(), Arc::downgrade(&shared));
            shared
        };
        let (sender, arrivals) = channel(1);
        let seat = {
            let mut seats = lock(&shared.seats);
            if seats.all.iter().any(|seat| seat.topic == topic) {
                return Err(Error::TopicTaken { endpoint: endpoint.to_owned(), topic: topic.to_owned() });
            }
            seats.last += 1;
            let number = seats.last;
            seats.all.push(Seat { number, topic: topic.to_owned(), arrivals: sender });
            number
        };
        Ok(Binding { shared, seat, arrivals, current: None, first: None, topic: topic.to_owned(), ignored: 0 })
    }
}

impl Binding {
    /// Waits for what happens next. Nothing is lost if the future is dropped before it is ready.
    pub(super) async fn next(&mut self) -> Arrival {
        if let Some(first) = self.first.take() {
            return first;
        }
        loop {
            let Some((connection, arrival)) = self.arrivals.recv().await else {
                // The socket sends for as long as this seat exists.
                return std::future::pending().await;
            };
            match &arrival {
                Arrival::Connected => self.current = Some(connection),
                // The connection that spoke for the publisher last has ended, and this one is still there.
                Arrival::Message(_) if self.current.is_none() => {
                    self.current = Some(connection);
                    self.first = Some(arrival);
                    return Arrival::Connected;
                }
                // A publisher that restarted may connect before its old connection is read to its end. What still comes
                // from there was sent before the restart.
                Arrival::Message(_) if self.current != Some(connection) => {
                    self.ignored += 1;
                    if self.ignored.is_power_of_two() {
                        let (topic, ignored) = (&self.topic, self.ignored);
                        tracing::warn!(topic, ignored, "two connections speak for one publisher; the newer one counts");
                    }
                    continue;
                }
                Arrival::Disconnected(_) if self.current != Some(connection) => continue,
                Arrival::Disconnected(_) => self.current = None,
                Arrival::Message(_) => {}
            }
            return arrival;
        }
    }
}

impl Drop for Binding {
    fn drop(&mut self) {
        lock(&self.shared.seats).all.retain(|seat| seat.number != self.seat);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn lock(seats: &Mutex<Seats>) -> MutexGuard<'_, Seats> {
    seats.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Seats {
    /// Returns the publisher of this topic: the one that is registered with the whole topic, or else with the longest
    /// part of it up to a separator. The empty topic is a part of all.
    fn find(&self, topic: &[u8]) -> Option<&Seat> {
        let is_part = |of: &&Seat| {
            topic.strip_prefix(of.topic.as_bytes()).is_some_and(|rest| {
                let ends = |bytes: Option<&u8>| bytes.is_some_and(|byte| SEPARATORS.contains(byte));
                of.topic.is_empty() || rest.is_empty() || ends(rest.first()) || ends(of.topic.as_bytes().last())
            })
        };
        self.all.iter().filter(is_part).max_by_key(|seat| seat.topic.len())
    }
}

/// What every connection to a bound socket has to pass.
struct Door {
    endpoint: String,
    seats: Arc<Mutex<Seats>>,
    limits: Limits,
    permits: Arc<Semaphore>,
}

impl Door {
    /// Accepts connections for ever. All of them end when this is dropped.
    async fn accept(self: Arc<Self>, listener: zmtp::Listener) {
        let mut connections = JoinSet::new();
        let mut last = 0;
        loop {
            let stream = tokio::select! {
                stream = listener.accept() => stream,
                Some(_) = connections.join_next() => continue,
            };
            match stream {
                Ok(stream) => {
                    let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
                        let (endpoint, most) = (&self.endpoint, MAX_CONNECTIONS);
                        tracing::warn!(endpoint, most, "too many connections to bound sockets: one was closed");
                        continue;
                    };
                    last += 1;
                    connections.spawn(Arc::clone(&self).run(last, stream, permit));
                }
                Err(error) => {
                    // Most likely there are no file descriptors left; some will be freed.
                    tracing::warn!(endpoint = self.endpoint, %error, "a connection could not be accepted");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn run(self: Arc<Self>, number: u64, stream: Box<dyn Stream>, _permit: OwnedSemaphorePermit) {
        let error = self.follow(number, stream).await;
        tracing::debug!(endpoint = self.endpoint, %error, "a connection to a bound socket ended");
    }

    /// Hands what a connection brings to the publishers that it speaks for, until it ends. Returns why it did.
    async fn follow(&self, number: u64, stream: Box<dyn Stream>) -> Error {
        let late = |_| Error::TimedOut { endpoint: self.endpoint.clone(), patience: HANDSHAKE };
        let begin = async {
            let mut connection = Connection::new(stream, Role::Subscriber, &self.limits).await?;
            // Which topics there are is not known beforehand.
            connection.subscribe("").await?;
            Ok::<_, Error>(connection)
        };
        let mut connection = match timeout(HANDSHAKE, begin).await.map_err(late).flatten() {
            Ok(connection) => connection,
            Err(error) => return error,
        };
        // The publishers that were told of this connection.
        let mut told: Vec<Seat> = Vec::new();
        // If a publisher is registered without a topic, every connection speaks for it.
        let whoever = lock(&self.seats).all.iter().find(|seat| seat.topic.is_empty()).cloned();
        if let Some(seat) = whoever {
            tell(&mut told, &seat, number).await;
        }
        let mut strangers = 0_u64;
        let error = loop {
            let message = if told.is_empty() {
                timeout(IDLE, connection.next()).await.unwrap_or(Err(Error::Stalled(IDLE)))
            } else {
                connection.next().await
            };
            let message = match message {
                Ok(message) => message,
                Err(error) => break error,
            };
            let topic = topic(&message);
            let found = lock(&self.seats).find(topic).cloned();
            let Some(seat) = found else {
                strangers += 1;
                if strangers.is_power_of_two() {
                    let topic = topic.escape_ascii().to_string();
                    tracing::warn!(endpoint = self.endpoint, topic, strangers, "no engine is registered for a topic");
                }
                continue;
            };
            tell(&mut told, &seat, number).await;
            // This fails only if nobody listens to the publisher any more, and then nobody misses the message.
            let _ = seat.arrivals.send((number, Arrival::Message(message))).await;
        };
        let why = error.to_string();
        for seat in told {
            let _ = seat.arrivals.send((number, Arrival::Disconnected(Error::Ended(why.clone())))).await;
        }
        error
    }
}

/// Tells a publisher of a connection, if it was not told yet.
async fn tell(told: &mut Vec<Seat>, seat: &Seat, connection: u64) {
    if told.iter().all(|other| other.number != seat.number) {
        told.push(seat.clone());
        let _ = seat.arrivals.send((connection, Arrival::Connected)).await;
    }
}

/// Returns the topic of a message: the frame before its number. A message without one has an empty topic.
fn topic(message: &[Bytes]) -> &[u8] {
    message.len().checked_sub(3).map_or(&[], |place| &message[place])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_belongs_to_the_longest_registered_part_of_it() {
        let seats = |topics: &[&str]| {
            let seat =
                |(number, topic): (u64, &&str)| Seat { number, topic: (*topic).to_owned(), arrivals: channel(1).0 };
            Seats { all: (0..).zip(topics).map(seat).collect(), last: 0 }
        };
        let find = |seats: &Seats, topic: &str| seats.find(topic.as_bytes()).map(|seat| seat.topic.clone());
        let pods = seats(&["kv@pod-1", "kv@pod-1@large", "kv@pod-10@m"]);
        assert_eq!(find(&pods, "kv@pod-1@m").as_deref(), Some("kv@pod-1"));
        assert_eq!(find(&pods, "kv@pod-1").as_deref(), Some("kv@pod-1"));
        assert_eq!(find(&pods, "kv@pod-1@large").as_deref(), Some("kv@pod-1@large"));
        assert_eq!(find(&pods, "kv@pod-10@m").as_deref(), Some("kv@pod-10@m"));
        assert_eq!(find(&pods, "kv@pod-11@m"), None, "another pod whose name begins alike");
        assert_eq!(find(&pods, ""), None);
        let open = seats(&["", "kv@a/"]);
        assert_eq!(find(&open, "anything").as_deref(), Some(""));
        assert_eq!(find(&open, "kv@a/b").as_deref(), Some("kv@a/"));
    }
}
