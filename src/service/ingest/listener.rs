//! Following one publisher.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, block_in_place};
use tokio::time::{Instant, sleep, sleep_until};

use super::feed;
use super::replay_request::{Answer, ReplayRequest};
use super::sequence::{Limits, Sequencer, Step};
use super::subscription::{Heard, Subscription};
use super::{Settings, Source};
use crate::index::Closed;
use crate::service::Model;
use crate::service::doubt::Doubt;
use crate::service::publisher::{self, Count, Publisher};

/// Between attempts to connect.
const PAUSE: Duration = Duration::from_millis(100);

/// Probes, one after another, that bring what should have come live: then the subscription is taken for half open.
const DEAF: u32 = 2;

/// Follows one publisher until it is [stopped](Self::stop) or dropped. What it handed over stays in the index.
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

    /// Returns when no further batch will be handed over.
    pub async fn stop(self) {
        drop(self.stop);
        // A panic is reported by the panic hook; there is nothing left to stop.
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
    /// Since when nothing came, and nothing was asked.
    quiet: Instant,
    /// Since when there is no connection.
    alone: Option<Instant>,
    /// Nothing came live since the connection was made, or the last probe.
    silent: bool,
    /// Probes since something came live that brought anything, and whether the one at hand did.
    deaf: u32,
    probe_brought: Option<bool>,
}

/// The index was shut down.
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
            quiet: Instant::now(),
            alone: None,
            silent: true,
            deaf: 0,
            probe_brought: None,
        };
        follower.alone = Some(follower.quiet);
        follower
    }

    async fn run(mut self, mut stop: oneshot::Receiver<()>) {
        let mut open = true;
        while open {
            // Sessions wait between batches only, so none is given up in the middle of one.
            open = tokio::select! {
                biased;
                _ = &mut stop => false,
                session = self.session() => session.is_ok(),
            };
        }
    }

    /// From one connection to its end.
    async fn session(&mut self) -> Result<(), End> {
        let mut subscription = match Subscription::open(&self.source).await {
            Ok(subscription) => subscription,
            Err(error) => {
                tracing::debug!(worker = %self.publisher.worker(), "no connection to {}: {error}", self.source.endpoint);
                self.disconnected();
                self.expire()?;
                sleep(PAUSE).await;
                return Ok(());
            }
        };
        if !self.source.bind {
            self.connected()?;
        }
        loop {
            let quiet_end = self.quiet + self.patience();
            let heard = tokio::select! {
                biased;
                answer = next(&mut self.replay) => {
                    if !self.answered(answer)? && !self.source.bind {
                        // Perhaps a new connection is better. This one is half open, if probes bring what it should.
                        self.publisher.add(Count::Disconnects, u64::from(self.deaf >= DEAF));
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
                    self.quiet = Instant::now();
                    (self.silent, self.deaf) = (false, 0);
                    self.sequencer.live(sequence, payload, &mut self.steps);
                    self.take_steps()?;
                }
                Some(Heard::Noise) => {
                    // It may have been a batch.
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
                None => {
                    self.quiet = Instant::now();
                    if self.alone.is_some() {
                        self.expire()?;
                    } else if self.source.replay.is_some() {
                        (self.silent, self.probe_brought) = (true, Some(false));
                        self.sequencer.probe(&mut self.steps);
                        self.take_steps()?;
                    } else if !self.source.bind && subscription.renew(&self.source).await.is_err() {
                        self.disconnected();
                        return Ok(());
                    }
                }
            }
        }
    }

    /// How long it may be quiet.
    fn patience(&self) -> Duration {
        match &self.source.replay {
            _ if self.alone.is_some() => self.settings.grace,
            Some(_) => self.settings.probe,
            None => self.settings.silence,
        }
    }

    fn connected(&mut self) -> Result<(), End> {
        self.quiet = Instant::now();
        (self.alone, self.silent, self.deaf, self.probe_brought) = (None, true, 0, None);
        self.sequencer.connected(&mut self.steps);
        self.take_steps()
    }

    fn disconnected(&mut self) {
        self.replay = None;
        self.quiet = Instant::now();
        if self.alone.is_none() {
            self.alone = Some(self.quiet);
            let grace = self.settings.grace;
            tracing::warn!(worker = %self.publisher.worker(), ?grace, "lost the connection to a publisher");
            self.publisher.add(Count::Disconnects, 1);
            self.publisher.set_connection(publisher::Connection::Unreachable);
        }
    }

    /// Drops what a publisher stored that has been away for too long.
    fn expire(&mut self) -> Result<(), End> {
        if self.publisher.connection() == publisher::Connection::Unreachable
            && self.alone.is_some_and(|since| since.elapsed() >= self.settings.grace)
        {
            block_in_place(|| feed::expire(&self.model, &self.publisher))?;
            self.sequencer = sequencer(&self.source, &self.settings, 0, None);
        }
        Ok(())
    }

    /// A part of a replay. Whether the connection is still to be trusted.
    fn answered(&mut self, answer: Answer) -> Result<bool, End> {
        match answer {
            Answer::Batch(sequence, payload) => self.sequencer.replayed(sequence, payload, &mut self.steps),
            Answer::End => {
                self.publisher.note_seen(None);
                self.sequencer.replay_ended(&mut self.steps);
                let missed = self.probe_brought.take() == Some(true) && self.silent;
                self.deaf += u32::from(missed);
            }
            Answer::Failed => {
                self.publisher.add(Count::Unanswered, 1);
                self.sequencer.replay_failed(&mut self.steps);
                self.take_steps()?;
                return Ok(self.sequencer.is_replaying() || !self.silent);
            }
        }
        self.take_steps()?;
        Ok(self.deaf < DEAF)
    }

    fn take_steps(&mut self) -> Result<(), End> {
        for step in std::mem::take(&mut self.steps) {
            self.take(step)?;
        }
        Ok(())
    }

    fn take(&mut self, step: Step<Bytes>) -> Result<(), End> {
        match step {
            Step::Apply { sequence, payload, replayed } => {
                self.publisher.add(Count::Replayed, replayed.into());
                if let Some(brought) = &mut self.probe_brought {
                    *brought |= replayed;
                }
                block_in_place(|| feed::apply(&self.model, &self.publisher, sequence, &payload))?;
            }
            Step::Duplicate => self.publisher.add(Count::Duplicates, 1),
            Step::HeldBack => self.publisher.add(Count::HeldBack, 1),
            Step::Gap => {
                self.publisher.add(Count::Gaps, 1);
                self.publisher.set_connection(publisher::Connection::Replaying);
            }
            Step::Nothing => self.publisher.settle(Doubt::JoinedLate),
            Step::Replay { from, attempt, probe } => {
                let endpoint = self.source.replay.clone().expect("asked for only where there is somebody to ask");
                self.replay = Some(ReplayRequest::ask(endpoint, from, attempt, self.settings.replay_timeout));
                self.publisher.set_connection(if probe {
                    publisher::Connection::Live
                } else {
                    publisher::Connection::Replaying
                });
            }
            Step::Settled => {
                self.replay = None;
                self.publisher.set_connection(publisher::Connection::Live);
            }
            Step::Restart => {
                tracing::info!(worker = %self.publisher.worker(), "the publisher began anew; what it held is dropped");
                self.replay = None;
                self.publisher.set_connection(publisher::Connection::Live);
                self.publisher.add(Count::Restarts, 1);
                block_in_place(|| feed::drop_all(&self.model, &self.publisher))?;
            }
            Step::Lost { from, to } => {
                if to > from {
                    tracing::warn!(worker = %self.publisher.worker(), from, to, "batches are lost; answers may be wrong");
                    self.publisher.add(Count::Lost, to - from);
                }
                block_in_place(|| feed::lose(&self.model, &self.publisher, from, to));
            }
        }
        Ok(())
    }
}

fn sequencer(source: &Source, settings: &Settings, next: u64, last: Option<u64>) -> Sequencer<Bytes> {
    let limits = Limits {
        held_batches: settings.held_batches,
        held_bytes: settings.held_bytes,
        attempts: settings.replay_attempts.max(1),
    };
    Sequencer::new(limits, source.replay.is_some(), next, last)
}

/// What the replay says next; waits for ever if there is none.
async fn next(replay: &mut Option<ReplayRequest>) -> Answer {
    match replay {
        Some(replay) => replay.next().await,
        None => std::future::pending().await,
    }
}
