//! Following one publisher: its connection, its replays, and its silence.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, sleep_until};

use super::replay_request::{Answer, ReplayRequest};
use super::sequence::{Limits, Sequencer, Step};
use super::settings::Source;
use super::subscription::{Heard, Subscription};
use super::trouble::{self, Trouble};
use super::{Shared, feed, membership};
use crate::index::Closed;
use crate::service::doubt::Doubt;
use crate::service::models::Model;
use crate::service::publisher::{Connection, Count, Publisher};
use crate::service::zmtp::Error;

/// The time before the second attempt to connect. It doubles with every further one, up to the longest.
pub(super) const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How many bytes a publisher may bring before others have their turn, and how many each message counts in addition.
const TURN: usize = 256 << 10;
const MESSAGE: usize = 4 << 10;

/// How long to wait before asking again whether the index has room.
const ROOM: Duration = Duration::from_millis(1);

/// After this time without a connection, its error says what is likely to be set wrong.
const HINT: Duration = Duration::from_secs(5);

/// The subscription counts as half open after this many probes in a row that bring batches which should have arrived
/// live.
const MAX_MISSED_LIVE: u32 = 2;

/// Follows one publisher.
pub(super) struct Follower {
    source: Source,
    model: Arc<Model>,
    publisher: Arc<Publisher>,
    shared: Arc<Shared>,
    sequencer: Sequencer<Bytes>,
    replay: Option<ReplayRequest>,
    steps: Vec<Step<Bytes>>,
    /// When the publisher was last heard or asked.
    quiet_since: Instant,
    /// When the connection was lost, if it is lost.
    lost_since: Option<Instant>,
    /// How long to wait before the next attempt to connect.
    pause: Duration,
    trouble: Trouble,
    /// What is left of the publisher's turn.
    turn: usize,
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
    pub(super) fn new(source: Source, model: Arc<Model>, publisher: Arc<Publisher>, shared: Arc<Shared>) -> Self {
        let position = publisher.position().clone();
        let mut follower = Self {
            sequencer: sequencer(&source, &shared, position.next_sequence, position.fingerprint),
            source,
            model,
            publisher,
            shared,
            replay: None,
            steps: Vec::new(),
            quiet_since: Instant::now(),
            lost_since: None,
            pause: PAUSE,
            trouble: Trouble::default(),
            turn: TURN,
            silent: true,
            missed_live: 0,
            probe_brought: None,
        };
        follower.lost_since = Some(follower.quiet_since);
        follower
    }

    pub(super) fn publisher(&self) -> &Arc<Publisher> {
        &self.publisher
    }

    /// Follows the publisher until it is told to stop or the index is shut down.
    pub(super) async fn run(mut self, mut stop: oneshot::Receiver<()>) {
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
        let opened = Subscription::open(&self.source, &self.shared.limits, &self.shared.bindings).await;
        let mut subscription = match opened {
            Ok(subscription) => subscription,
            Err(error) => {
                self.disconnected(&error);
                self.expire()?;
                self.pause().await;
                return Ok(());
            }
        };
        // A bound socket reports when the publisher has connected.
        if !self.source.bind {
            self.connected().await?;
        }
        loop {
            let quiet_end = self.quiet_since + self.patience();
            // Replays come first: live batches that arrive meanwhile may have to be held, and a replay that progresses
            // ends that.
            let heard = tokio::select! {
                biased;
                answer = next(&mut self.replay) => {
                    if !self.answered(answer).await? && !self.source.bind {
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
                    self.heard();
                    self.sequencer.live(sequence, payload, &mut self.steps);
                    self.take_steps().await?;
                }
                Some(Heard::Noise) => {
                    // It may have been a batch, so it cannot be ignored.
                    self.publisher.add(Count::Undecodable, 1);
                    self.publisher.doubt(Doubt::Undecodable);
                }
                Some(Heard::Connected | Heard::Renewed) => self.connected().await?,
                Some(Heard::Disconnected(error)) => {
                    self.disconnected(&error);
                    if !self.source.bind {
                        self.pause().await;
                        return Ok(());
                    }
                }
                // The publisher has been quiet for too long.
                None => {
                    self.quiet_since = Instant::now();
                    if self.lost_since.is_some() {
                        if self.source.bind && self.publisher.connection() == Connection::Connecting {
                            self.trouble.note(
                                &self.publisher,
                                "no publisher has connected yet",
                                Some(trouble::OF_BINDING),
                            );
                        }
                        self.expire()?;
                    } else if self.source.replay.is_some() {
                        // A quiet publisher may have nothing to say, or the connection may be dead: ask.
                        (self.silent, self.probe_brought) = (true, Some(false));
                        self.sequencer.probe(&mut self.steps);
                        self.take_steps().await?;
                    // It cannot be asked: a second connection will show whether the first one is dead.
                    } else if let Err(error) = subscription.renew(&self.source, &self.shared.limits).await {
                        self.disconnected(&error);
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Returns how long the publisher may be quiet before something is done.
    fn patience(&self) -> Duration {
        match &self.source.replay {
            _ if self.publisher.connection() == Connection::Connecting => HINT,
            _ if self.lost_since.is_some() => self.shared.settings.grace,
            Some(_) => self.shared.settings.probe,
            None => self.shared.settings.silence,
        }
    }

    /// Begins with a publisher that has just connected: it may be another one than before.
    async fn connected(&mut self) -> Result<(), End> {
        self.quiet_since = Instant::now();
        self.publisher.add(Count::Replaced, self.lost_since.is_none().into());
        (self.lost_since, self.silent, self.missed_live, self.probe_brought) = (None, true, 0, None);
        self.publisher.set_last_error(None);
        self.sequencer.connected(&mut self.steps);
        self.take_steps().await
    }

    /// Notes that the publisher has sent something that can be used.
    fn heard(&mut self) {
        self.pause = PAUSE;
        self.trouble.is_over();
    }

    /// Waits before the next attempt to connect.
    async fn pause(&mut self) {
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    /// Notes that there is no connection, or none any more. If there was one, the grace period begins.
    fn disconnected(&mut self, error: &Error) {
        self.replay = None;
        self.quiet_since = Instant::now();
        let known = self.publisher.connection() != Connection::Connecting;
        if self.lost_since.is_none() {
            self.lost_since = Some(self.quiet_since);
            self.publisher.add(Count::Disconnects, 1);
            self.publisher.set_connection(Connection::Unreachable);
        }
        let hint = trouble::of_connecting(error).filter(|_| !known && self.is_late());
        self.trouble.note(&self.publisher, &error.to_string(), hint);
    }

    /// Whether there has been no connection for so long that the settings are likely to be wrong.
    fn is_late(&self) -> bool {
        self.lost_since.is_some_and(|since| since.elapsed() >= HINT)
    }

    /// Drops what the publisher stored, if its connection has been lost for longer than the grace period.
    fn expire(&mut self) -> Result<(), End> {
        if self.publisher.connection() == Connection::Unreachable
            && self.lost_since.is_some_and(|since| since.elapsed() >= self.shared.settings.grace)
        {
            membership::expire(&self.model, &self.publisher)?;
            self.sequencer = sequencer(&self.source, &self.shared, 0, None);
        }
        Ok(())
    }

    /// Takes a part of a replay. Returns whether the connection can still be trusted.
    async fn answered(&mut self, answer: Answer) -> Result<bool, End> {
        match answer {
            Answer::Batch(sequence, payload) => self.sequencer.replayed(sequence, payload, &mut self.steps),
            Answer::End => {
                self.publisher.note_seen(None);
                self.publisher.set_last_error(None);
                self.sequencer.replay_ended(&mut self.steps);
                // The probe brought batches that the subscription should have brought before.
                let missed = self.probe_brought.take() == Some(true) && self.silent;
                self.missed_live += u32::from(missed);
            }
            Answer::Endless => {
                self.trouble.note(&self.publisher, "no replay: the answer did not end in time", None);
                self.publisher.add(Count::Unanswered, 1);
                self.sequencer.replay_endless(&mut self.steps);
            }
            Answer::Failed(failure) => {
                self.trouble.note(&self.publisher, &format!("no replay: {failure}"), None);
                self.publisher.add(Count::Unanswered, 1);
                self.sequencer.replay_failed(&mut self.steps);
                self.take_steps().await?;
                // With no answer and nothing live, a new connection may be better. As long as the sequencer asks again,
                // or something arrives live, this one is kept.
                return Ok(self.sequencer.is_replaying() || !self.silent);
            }
        }
        self.take_steps().await?;
        Ok(self.missed_live < MAX_MISSED_LIVE)
    }

    /// Takes the steps of the sequencer, in order.
    async fn take_steps(&mut self) -> Result<(), End> {
        for step in std::mem::take(&mut self.steps) {
            if matches!(step, Step::Apply { .. }) {
                self.room().await;
            }
            self.take_turn(&step).await;
            self.take(step)?;
        }
        Ok(())
    }

    /// Lets others have their turn, if this publisher has had its own. A publisher that floods the service would never
    /// wait otherwise: there is always more to read.
    async fn take_turn(&mut self, step: &Step<Bytes>) {
        let bytes = if let Step::Apply { payload, .. } = step { payload.len() } else { 0 };
        if let Some(left) = self.turn.checked_sub(MESSAGE + bytes) {
            self.turn = left;
        } else {
            self.turn = TURN;
            yield_now().await;
        }
    }

    /// Waits until a batch can be handed over without waiting on this thread, which other publishers need. The index is
    /// asked again and again, because a writer that had to wake listeners would have to know of them; half a mailbox
    /// takes its writer longer than one of these pauses.
    async fn room(&self) {
        while !self.model.index().has_room_for_all() || self.model.is_at_rest() {
            sleep(ROOM).await;
        }
    }

    fn take(&mut self, step: Step<Bytes>) -> Result<(), End> {
        match step {
            Step::Apply { sequence, payload, fingerprint, replayed } => {
                self.publisher.add(Count::Replayed, replayed.into());
                if let Some(brought) = &mut self.probe_brought {
                    *brought |= replayed;
                }
                feed::apply_batch(&self.model, &self.publisher, sequence, &payload, fingerprint)?;
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
                let Shared { settings, limits, .. } = &*self.shared;
                self.replay = Some(ReplayRequest::ask(endpoint, from, attempt, settings, limits.clone()));
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
                membership::drop_all(&self.model, &self.publisher)?;
            }
            Step::Lost { from, to } => {
                if to > from {
                    let worker = self.publisher.worker();
                    tracing::warn!(%worker, from, to, "batches are lost: answers may be wrong");
                    self.publisher.add(Count::Lost, to - from);
                }
                membership::lose(&self.model, &self.publisher, from, to);
            }
        }
        Ok(())
    }
}

/// Creates a sequencer that expects `next`, behind a batch with the fingerprint `last`.
fn sequencer(source: &Source, shared: &Shared, next: u64, last: Option<u64>) -> Sequencer<Bytes> {
    let limits = Limits {
        held_batches: shared.settings.held_batches,
        room: Arc::clone(&shared.room),
        attempts: shared.settings.replay_attempts.max(1),
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
