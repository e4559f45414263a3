//! Following one publisher: its connection, its replays, and its silence.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, block_in_place};
use tokio::time::{Instant, sleep, sleep_until};

use super::replay_request::{Answer, ReplayRequest};
use super::sequence::{Limits, Sequencer, Step};
use super::settings::{Settings, Source};
use super::subscription::{Heard, Subscription};
use super::{feed, membership};
use crate::index::Closed;
use crate::service::doubt::Doubt;
use crate::service::models::Model;
use crate::service::publisher::{Connection, Count, Publisher};

/// The time between two attempts to connect.
const PAUSE: Duration = Duration::from_millis(100);

/// The subscription counts as half open after this many probes in a row that bring batches which should have arrived
/// live.
const MAX_MISSED_LIVE: u32 = 2;

/// Follows one publisher until it is [stopped](Self::stop) or dropped. What it has handed over stays in the index.
#[derive(Debug)]
pub struct Listener {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Listener {
    pub(super) fn spawn(
        runtime: &Handle,
        source: Source,
        model: Arc<Model>,
        publisher: Arc<Publisher>,
        settings: Arc<Settings>,
    ) -> Self {
        let (stop, stopped) = oneshot::channel();
        let follower = Follower::new(source, model, publisher, settings);
        Self { stop, task: runtime.spawn(follower.run(stopped)) }
    }

    /// Stops the listener, and returns when no further batch will be handed over.
    pub async fn stop(self) {
        drop(self.stop);
        // An error means that the task panicked, which the panic hook has reported.
        let _ = self.task.await;
    }
}

struct Follower {
    source: Source,
    model: Arc<Model>,
    publisher: Arc<Publisher>,
    settings: Arc<Settings>,
    sequencer: Sequencer<Bytes>,
    replay: Option<ReplayRequest>,
    steps: Vec<Step<Bytes>>,
    /// When the publisher was last heard or asked.
    quiet_since: Instant,
    /// When the connection was lost, if it is lost.
    lost_since: Option<Instant>,
    /// Whether nothing has arrived live since the connection was made or the last probe was sent.
    silent: bool,
    /// Probes in a row that brought batches although nothing arrived live.
    missed_live: u32,
    /// Whether the probe that is under way has brought batches; `None` if none is.
    probe_brought: Option<bool>,
}

/// The index was shut down, so there is nothing to follow the publisher for.
struct End;

impl From<Closed> for End {
    fn from(Closed: Closed) -> Self {
        Self
    }
}

impl Follower {
    fn new(source: Source, model: Arc<Model>, publisher: Arc<Publisher>, settings: Arc<Settings>) -> Self {
        let position = publisher.position().clone();
        let mut follower = Self {
            sequencer: sequencer(&source, &settings, position.next_sequence, position.fingerprint),
            source,
            model,
            publisher,
            settings,
            replay: None,
            steps: Vec::new(),
            quiet_since: Instant::now(),
            lost_since: None,
            silent: true,
            missed_live: 0,
            probe_brought: None,
        };
        follower.lost_since = Some(follower.quiet_since);
        follower
    }

    async fn run(mut self, mut stop: oneshot::Receiver<()>) {
        let mut open = true;
        while open {
            // A session waits only between batches, so stopping never interrupts one.
            open = tokio::select! {
                biased;
                _ = &mut stop => false,
                session = self.session() => session.is_ok(),
            };
        }
    }

    /// Follows the publisher over one connection. Returns when it is time for another one.
    ///
    /// A bound socket is never given up: publishers come and go at its other end. Otherwise a session ends when the
    /// connection is lost, or when it is useless: no replay was answered while nothing arrived live, or the connection
    /// is half open, so that probes bring what should have arrived live. In the latter two cases another connection is
    /// made at once, and the publisher does not become unreachable.
    async fn session(&mut self) -> Result<(), End> {
        let mut subscription = match Subscription::open(&self.source).await {
            Ok(subscription) => subscription,
            Err(error) => {
                let (worker, endpoint) = (self.publisher.worker(), &self.source.endpoint);
                tracing::debug!(%worker, "no connection to {endpoint}: {error}");
                self.disconnected();
                self.expire()?;
                sleep(PAUSE).await;
                return Ok(());
            }
        };
        // A bound socket reports when the publisher has connected.
        if !self.source.bind {
            self.connected()?;
        }
        loop {
            let quiet_end = self.quiet_since + self.patience();
            // Replays come first: live batches that arrive meanwhile may have to be held, and a replay that progresses
            // ends that.
            let heard = tokio::select! {
                biased;
                answer = next(&mut self.replay) => {
                    if !self.answered(answer)? && !self.source.bind {
                        // If it is half open, that counts as a lost connection.
                        self.publisher.add(Count::Disconnects, u64::from(self.missed_live >= MAX_MISSED_LIVE));
                        self.replay = None;
                        return Ok(());
                    }
                    continue;
                }
                heard = subscription.next() => Some(heard),
                () = sleep_until(quiet_end) => None,
            };
            match heard {
                Some(Heard::Batch(sequence, payload)) => {
                    self.quiet_since = Instant::now();
                    (self.silent, self.missed_live) = (false, 0);
                    self.sequencer.live(sequence, payload, &mut self.steps);
                    self.take_steps()?;
                }
                Some(Heard::Noise) => {
                    // It may have been a batch, so it cannot be ignored.
                    self.publisher.add(Count::Undecodable, 1);
                    self.publisher.doubt(Doubt::Undecodable);
                }
                Some(Heard::Connected | Heard::Renewed) => self.connected()?,
                Some(Heard::Disconnected) => {
                    self.disconnected();
                    if !self.source.bind {
                        return Ok(());
                    }
                }
                // The publisher has been quiet for too long.
                None => {
                    self.quiet_since = Instant::now();
                    if self.lost_since.is_some() {
                        self.expire()?;
                    } else if self.source.replay.is_some() {
                        // A quiet publisher may have nothing to say, or the connection may be dead: ask.
                        (self.silent, self.probe_brought) = (true, Some(false));
                        self.sequencer.probe(&mut self.steps);
                        self.take_steps()?;
                    // It cannot be asked: a second connection will show whether the first one is dead.
                    } else if !self.source.bind && subscription.renew(&self.source).await.is_err() {
                        self.disconnected();
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Returns how long the publisher may be quiet before something is done.
    fn patience(&self) -> Duration {
        match &self.source.replay {
            _ if self.lost_since.is_some() => self.settings.grace,
            Some(_) => self.settings.probe,
            None => self.settings.silence,
        }
    }

    /// Begins with a publisher that has just connected: it may be another one than before.
    fn connected(&mut self) -> Result<(), End> {
        self.quiet_since = Instant::now();
        (self.lost_since, self.silent, self.missed_live, self.probe_brought) = (None, true, 0, None);
        self.sequencer.connected(&mut self.steps);
        self.take_steps()
    }

    /// Notes that the connection is lost. The grace period begins.
    fn disconnected(&mut self) {
        self.replay = None;
        self.quiet_since = Instant::now();
        if self.lost_since.is_none() {
            self.lost_since = Some(self.quiet_since);
            let grace = self.settings.grace;
            tracing::warn!(worker = %self.publisher.worker(), ?grace, "lost the connection to a publisher");
            self.publisher.add(Count::Disconnects, 1);
            self.publisher.set_connection(Connection::Unreachable);
        }
    }

    /// Drops what the publisher stored, if its connection has been lost for longer than the grace period.
    fn expire(&mut self) -> Result<(), End> {
        if self.publisher.connection() == Connection::Unreachable
            && self.lost_since.is_some_and(|since| since.elapsed() >= self.settings.grace)
        {
            block_in_place(|| membership::expire(&self.model, &self.publisher))?;
            self.sequencer = sequencer(&self.source, &self.settings, 0, None);
        }
        Ok(())
    }

    /// Takes a part of a replay. Returns whether the connection can still be trusted.
    fn answered(&mut self, answer: Answer) -> Result<bool, End> {
        match answer {
            Answer::Batch(sequence, payload) => self.sequencer.replayed(sequence, payload, &mut self.steps),
            Answer::End => {
                self.publisher.note_seen(None);
                self.sequencer.replay_ended(&mut self.steps);
                // The probe brought batches that the subscription should have brought before.
                let missed = self.probe_brought.take() == Some(true) && self.silent;
                self.missed_live += u32::from(missed);
            }
            Answer::Failed => {
                self.publisher.add(Count::Unanswered, 1);
                self.sequencer.replay_failed(&mut self.steps);
                self.take_steps()?;
                // With no answer and nothing live, a new connection may be better. As long as the sequencer asks again,
                // or something arrives live, this one is kept.
                return Ok(self.sequencer.is_replaying() || !self.silent);
            }
        }
        self.take_steps()?;
        Ok(self.missed_live < MAX_MISSED_LIVE)
    }

    /// Takes the steps of the sequencer, in order.
    fn take_steps(&mut self) -> Result<(), End> {
        for step in std::mem::take(&mut self.steps) {
            self.take(step)?;
        }
        Ok(())
    }

    fn take(&mut self, step: Step<Bytes>) -> Result<(), End> {
        match step {
            Step::Apply { sequence, payload, fingerprint, replayed } => {
                self.publisher.add(Count::Replayed, replayed.into());
                if let Some(brought) = &mut self.probe_brought {
                    *brought |= replayed;
                }
                block_in_place(|| feed::apply_batch(&self.model, &self.publisher, sequence, &payload, fingerprint))?;
            }
            Step::Duplicate => self.publisher.add(Count::Duplicates, 1),
            Step::HeldBack => self.publisher.add(Count::HeldBack, 1),
            Step::Gap => {
                self.publisher.add(Count::Gaps, 1);
                self.publisher.set_connection(Connection::Replaying);
            }
            Step::NothingYet => self.publisher.settle(Doubt::JoinedLate),
            Step::Replay { from, attempt, probe } => {
                let endpoint = self.source.replay.clone().expect("the sequencer asks only if there is an endpoint");
                self.replay = Some(ReplayRequest::ask(endpoint, from, attempt, self.settings.replay_timeout));
                self.publisher.set_connection(if probe { Connection::Live } else { Connection::Replaying });
            }
            Step::Settled => {
                self.replay = None;
                self.publisher.set_connection(Connection::Live);
            }
            Step::Restart => {
                let worker = self.publisher.worker();
                tracing::info!(%worker, "the publisher restarted: dropping everything it stored");
                self.replay = None;
                self.publisher.set_connection(Connection::Live);
                self.publisher.add(Count::Restarts, 1);
                block_in_place(|| membership::drop_all(&self.model, &self.publisher))?;
            }
            Step::Lost { from, to } => {
                if to > from {
                    let worker = self.publisher.worker();
                    tracing::warn!(%worker, from, to, "batches are lost: answers may be wrong");
                    self.publisher.add(Count::Lost, to - from);
                }
                block_in_place(|| membership::lose(&self.model, &self.publisher, from, to));
            }
        }
        Ok(())
    }
}

/// Creates a sequencer that expects `next`, behind a batch with the fingerprint `last`.
fn sequencer(source: &Source, settings: &Settings, next: u64, last: Option<u64>) -> Sequencer<Bytes> {
    let limits = Limits {
        held_batches: settings.held_batches,
        held_bytes: settings.held_bytes,
        attempts: settings.replay_attempts.max(1),
    };
    Sequencer::new(limits, source.replay.is_some(), next, last)
}

/// Waits for the next part of the replay; for ever if there is no replay.
async fn next(replay: &mut Option<ReplayRequest>) -> Answer {
    match replay {
        Some(replay) => replay.next().await,
        None => std::future::pending().await,
    }
}
