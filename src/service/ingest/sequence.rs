//! Sequence numbers: what is applied, what is asked for again, and what is lost. No sockets and no clock.
//!
//! A publisher numbers its batches from 0 and keeps the last of them for replay. Live batches of one connection come in
//! order, but some may be missing; replays give everything from a number on, as far back as the publisher remembers.
//!
//! - A live batch beyond the expected one is held, and the missing ones are asked for. Live batches that come meanwhile
//!   are held, too, up to a bound; beyond it they are left to the next replay.
//! - A probe asks a quiet publisher whether anything was missed. The expected batch, when it comes live, answers it: nothing
//!   was. So no live batch ever waits for the answer to a probe.
//! - A live number that is not above the last one: the publisher began anew.
//! - A new connection may be to a publisher that began anew and has come as far as the old one, so the last batch that
//!   was applied is asked for again. Another batch under its number, or none, tells the new publisher. Where nobody can
//!   be asked, nobody knows whether anything is missing, and that is said: no batches are lost, from the next one on.
//! - What a replay does not reach back to, or cannot give after several attempts, is lost.

use std::collections::BTreeMap;

use super::feed::fingerprint;

/// What is to be done, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step<P> {
    /// Hand this batch over.
    Apply { sequence: u64, payload: P, replayed: bool },
    /// A batch that was known; nothing.
    Duplicate,
    /// A batch that there was no room to hold; nothing, for it will be missed.
    HeldBack,
    /// Batches are missing.
    Gap,
    /// Ask for everything from this batch on, and ignore what is still coming of an earlier answer. A probe asks although
    /// nothing is known to be missing.
    Replay { from: u64, attempt: u32, probe: bool },
    /// Nothing more is to be asked. Ignore what is still coming of an answer.
    Settled,
    /// The publisher restarted: drop what it stored, and ignore what is still coming of an answer.
    Restart,
    /// The batches from this on and before the other are not to be had. If both are the same, it is not known whether
    /// any are missing.
    Lost { from: u64, to: u64 },
    /// The publisher remembers that it has said nothing yet.
    Nothing,
}

/// Bounds of what is held, and patience.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) held_batches: usize,
    pub(super) held_bytes: usize,
    /// Replays without progress before what is missing counts as lost.
    pub(super) attempts: u32,
}

/// Where one publisher is.
#[derive(Debug)]
pub(super) struct Sequencer<P> {
    limits: Limits,
    /// Whether there is anybody to ask.
    replays: bool,
    next: u64,
    /// Of the batch before `next`, if that was applied.
    last: Option<u64>,
    /// The last one that came live from this publisher.
    live: Option<u64>,
    /// Nothing came live on this connection yet.
    fresh: bool,
    /// Whether this connection's publisher may be another one than the one before. What comes live proves nothing.
    unproven: bool,
    replay: Option<PendingReplay>,
    held: BTreeMap<u64, P>,
    held_bytes: usize,
    /// Replays since the last one that brought anything.
    attempts: u32,
}

#[derive(Debug)]
struct PendingReplay {
    from: u64,
    answered: bool,
    /// Nothing is known to be missing.
    probe: bool,
}

impl<P: AsRef<[u8]>> Sequencer<P> {
    /// Expects `next`, after a batch with this fingerprint.
    pub(super) fn new(limits: Limits, replays: bool, next: u64, last: Option<u64>) -> Self {
        Self {
            limits,
            replays,
            next,
            last,
            live: next.checked_sub(1),
            fresh: true,
            unproven: true,
            replay: None,
            held: BTreeMap::new(),
            held_bytes: 0,
            attempts: 0,
        }
    }

    pub(super) fn is_replaying(&self) -> bool {
        self.replay.is_some()
    }

    /// There is a new connection: find out whether it is to the same publisher, and what was missed.
    pub(super) fn connected(&mut self, steps: &mut Vec<Step<P>>) {
        (self.fresh, self.unproven) = (true, true);
        self.attempts = 0;
        self.let_go();
        if !self.replays {
            self.lose(self.next, steps);
        }
        self.ask(false, steps);
    }

    /// Nothing came for a while: find out whether anything was missed.
    pub(super) fn probe(&mut self, steps: &mut Vec<Step<P>>) {
        if self.replay.is_none() {
            self.attempts = 0;
            self.ask(true, steps);
        }
    }

    /// A batch that came live.
    pub(super) fn live(&mut self, sequence: u64, payload: P, steps: &mut Vec<Step<P>>) {
        if self.live.is_some_and(|last| sequence <= last) {
            self.let_go();
            self.restart(steps);
        }
        self.live = Some(sequence);
        self.fresh = false;
        if sequence < self.next {
            return steps.push(Step::Duplicate);
        }
        let asking = self.replay.as_ref().is_some_and(|replay| !replay.probe);
        if sequence == self.next && !asking {
            if self.replay.take().is_some() {
                steps.push(Step::Settled);
            }
            return self.apply(sequence, payload, false, steps);
        }
        if !asking {
            steps.push(Step::Gap);
        }
        self.hold(sequence, payload, steps);
        match &mut self.replay {
            // A probe asks for what is missing, too.
            Some(replay) => replay.probe = false,
            None => {
                self.attempts = 0;
                self.ask(false, steps);
            }
        }
    }

    /// A batch of the replay.
    pub(super) fn replayed(&mut self, sequence: u64, payload: P, steps: &mut Vec<Step<P>>) {
        let Some(replay) = &mut self.replay else { return };
        let first = !std::mem::replace(&mut replay.answered, true);
        let known = first && replay.from < self.next;
        if known && sequence == replay.from {
            if self.last == Some(fingerprint(payload.as_ref())) {
                self.unproven = false;
            } else {
                self.restart(steps);
                self.ask(false, steps);
            }
            return;
        }
        if sequence < self.next {
            return;
        }
        if sequence > self.next || (known && self.unproven) {
            // Answers begin where the publisher's memory does, and if that is behind what is known here, nobody can tell
            // whether it is the same publisher. Where an answer has a hole, batches were dropped on the way.
            if !first && self.attempts < self.limits.attempts {
                return self.ask(false, steps);
            }
            self.lose(sequence, steps);
        }
        self.attempts = 0;
        self.apply(sequence, payload, true, steps);
        self.forget_earlier_publisher();
    }

    /// The replay is complete.
    pub(super) fn replay_ended(&mut self, steps: &mut Vec<Step<P>>) {
        let Some(replay) = self.replay.take() else { return };
        if !replay.answered && replay.from < self.next && self.unproven {
            self.restart(steps);
            return self.ask(false, steps);
        }
        if !replay.answered && self.next == 0 {
            steps.push(Step::Nothing);
        }
        self.release(steps);
    }

    /// The replay is not answered, or not any more.
    pub(super) fn replay_failed(&mut self, steps: &mut Vec<Step<P>>) {
        let Some(replay) = self.replay.take() else { return };
        if self.attempts < self.limits.attempts {
            return self.ask(replay.probe, steps);
        }
        if self.unproven {
            // Nobody can tell whether this is the publisher that all of it came from, or what it said before.
            self.lose(self.next, steps);
        }
        self.release(steps);
    }

    /// Asks for what is missing, and for the batch before it.
    fn ask(&mut self, probe: bool, steps: &mut Vec<Step<P>>) {
        if !self.replays {
            return self.release(steps);
        }
        let from = self.next - u64::from(self.last.is_some());
        self.replay = Some(PendingReplay { from, answered: false, probe });
        steps.push(Step::Replay { from, attempt: self.attempts, probe });
        self.attempts += 1;
    }

    /// Applies what was held, and asks again for what is still missing before it or was held back.
    fn release(&mut self, steps: &mut Vec<Step<P>>) {
        while let Some((sequence, payload)) = self.held.pop_first() {
            self.held_bytes -= payload.as_ref().len();
            if sequence > self.next {
                if self.replays && self.attempts < self.limits.attempts {
                    self.held_bytes += payload.as_ref().len();
                    self.held.insert(sequence, payload);
                    return self.ask(false, steps);
                }
                self.lose(sequence, steps);
            }
            if sequence < self.next {
                steps.push(Step::Duplicate);
            } else {
                self.apply(sequence, payload, false, steps);
            }
        }
        self.forget_earlier_publisher();
        if let Some(live) = self.live.filter(|&live| live >= self.next) {
            // There was no room to hold this batch. Nothing is settled without it.
            if self.replays && self.attempts < self.limits.attempts {
                return self.ask(false, steps);
            }
            self.lose(live + 1, steps);
        }
        steps.push(Step::Settled);
    }

    /// Forgets what came live on earlier connections, if this one may be to another publisher.
    fn forget_earlier_publisher(&mut self) {
        if self.fresh && self.unproven && self.live.is_some_and(|live| live >= self.next) {
            self.live = self.next.checked_sub(1);
        }
    }

    fn hold(&mut self, sequence: u64, payload: P, steps: &mut Vec<Step<P>>) {
        let bytes = payload.as_ref().len();
        if self.held.len() >= self.limits.held_batches || self.held_bytes + bytes > self.limits.held_bytes {
            steps.push(Step::HeldBack);
        } else {
            self.held_bytes += bytes;
            self.held.insert(sequence, payload);
        }
    }

    fn apply(&mut self, sequence: u64, payload: P, replayed: bool, steps: &mut Vec<Step<P>>) {
        self.last = Some(fingerprint(payload.as_ref()));
        self.next = sequence + 1;
        steps.push(Step::Apply { sequence, payload, replayed });
    }

    fn lose(&mut self, to: u64, steps: &mut Vec<Step<P>>) {
        steps.push(Step::Lost { from: self.next, to });
        self.next = to;
        self.last = None;
        // It is doubted from now on, whichever it is.
        self.unproven = false;
    }

    /// What came live on this connection is the new publisher's.
    fn restart(&mut self, steps: &mut Vec<Step<P>>) {
        steps.push(Step::Restart);
        (self.next, self.last, self.replay, self.attempts, self.unproven) = (0, None, None, 0, false);
        if self.fresh {
            self.live = None;
        }
    }

    /// What is held is another publisher's, or comes again.
    fn let_go(&mut self) {
        self.held.clear();
        self.held_bytes = 0;
    }
}

#[cfg(test)]
mod tests;
