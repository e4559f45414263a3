//! Following one publisher.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, block_in_place};
use tokio::time::{Instant, sleep, sleep_until};

use super::feed;
use super::link::{Heard, Link};
use super::replay::{Answer, Replay};
use super::sequence::{Limits, Sequencer, Step};
use super::{Settings, Source};
use crate::index::Closed;
use crate::service::Model;
use crate::service::doubt::Doubt;
use crate::service::rank::{self, Count, Rank};

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
        rank: Arc<Rank>,
        settings: Arc<Settings>,
    ) -> Self {
        let (stop, stopped) = oneshot::channel();
        let follower = Follower::new(source, model, rank, settings);
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
    rank: Arc<Rank>,
    settings: Arc<Settings>,
    sequencer: Sequencer<Bytes>,
    replay: Option<Replay>,
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
    fn new(source: Source, model: Arc<Model>, rank: Arc<Rank>, settings: Arc<Settings>) -> Self {
        let position = rank.position().clone();
        let mut follower = Self {
            sequencer: sequencer(&source, &settings, position.next_sequence, position.fingerprint),
            source,
            model,
            rank,
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
        let mut link = match Link::open(&self.source).await {
            Ok(link) => link,
            Err(error) => {
                tracing::debug!(worker = %self.rank.worker(), "no connection to {}: {error}", self.source.endpoint);
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
                        self.rank.add(Count::Disconnects, u64::from(self.deaf >= DEAF));
                        self.replay = None;
                        return Ok(());
                    }
                    continue;
                }
                heard = link.next() => Some(heard),
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
                    self.rank.add(Count::Undecodable, 1);
                    self.rank.doubt(Doubt::Undecodable);
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
                    } else if !self.source.bind && link.renew(&self.source).await.is_err() {
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
            tracing::warn!(worker = %self.rank.worker(), ?grace, "lost the connection to a publisher");
            self.rank.add(Count::Disconnects, 1);
            self.rank.set_link(rank::Link::Unreachable);
        }
    }

    /// Drops what a publisher stored that has been away for too long.
    fn expire(&mut self) -> Result<(), End> {
        if self.rank.link() == rank::Link::Unreachable
            && self.alone.is_some_and(|since| since.elapsed() >= self.settings.grace)
        {
            block_in_place(|| feed::expire(&self.model, &self.rank))?;
            self.sequencer = sequencer(&self.source, &self.settings, 0, None);
        }
        Ok(())
    }

    /// A part of a replay. Whether the connection is still to be trusted.
    fn answered(&mut self, answer: Answer) -> Result<bool, End> {
        match answer {
            Answer::Batch(sequence, payload) => self.sequencer.replayed(sequence, payload, &mut self.steps),
            Answer::End => {
                self.rank.note_seen(None);
                self.sequencer.replay_ended(&mut self.steps);
                let missed = self.probe_brought.take() == Some(true) && self.silent;
                self.deaf += u32::from(missed);
            }
            Answer::Failed => {
                self.rank.add(Count::Unanswered, 1);
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
                self.rank.add(Count::Replayed, replayed.into());
                if let Some(brought) = &mut self.probe_brought {
                    *brought |= replayed;
                }
                block_in_place(|| feed::apply(&self.model, &self.rank, sequence, &payload))?;
            }
            Step::Duplicate => self.rank.add(Count::Duplicates, 1),
            Step::HeldBack => self.rank.add(Count::HeldBack, 1),
            Step::Gap => {
                self.rank.add(Count::Gaps, 1);
                self.rank.set_link(rank::Link::Replaying);
            }
            Step::Nothing => self.rank.settle(Doubt::JoinedLate),
            Step::Replay { from, attempt, probe } => {
                let endpoint = self.source.replay.clone().expect("asked for only where there is somebody to ask");
                self.replay = Some(Replay::ask(endpoint, from, attempt, self.settings.replay_timeout));
                self.rank.set_link(if probe { rank::Link::Live } else { rank::Link::Replaying });
            }
            Step::Settled => {
                self.replay = None;
                self.rank.set_link(rank::Link::Live);
            }
            Step::Restart => {
                tracing::info!(worker = %self.rank.worker(), "the publisher began anew; what it held is dropped");
                self.replay = None;
                self.rank.set_link(rank::Link::Live);
                self.rank.add(Count::Restarts, 1);
                block_in_place(|| feed::drop_all(&self.model, &self.rank))?;
            }
            Step::Lost { from, to } => {
                if to > from {
                    tracing::warn!(worker = %self.rank.worker(), from, to, "batches are lost; answers may be wrong");
                    self.rank.add(Count::Lost, to - from);
                }
                block_in_place(|| feed::lose(&self.model, &self.rank, from, to));
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
async fn next(replay: &mut Option<Replay>) -> Answer {
    match replay {
        Some(replay) => replay.next().await,
        None => std::future::pending().await,
    }
}
