//! Sequence numbers: which batches are applied, which are asked for again, and which are lost. No sockets and no clock.
//!
//! Receivers that ask for missing numbers are known from reliable multicast, where they send negative acknowledgements.
//! What differs here: a publisher may restart and use the same numbers for other batches, and the receiver has to
//! notice that.
//!
//! A publisher numbers its batches from 0 and keeps the last of them for replay. The live batches of one connection
//! arrive in order, but some may be missing. A replay returns every batch from a number on, as far back as the
//! publisher remembers.
//!
//! - A live batch beyond the expected one is held, and the missing ones are asked for. Live batches that arrive during
//!   the replay are held as well, up to a limit; those beyond it are left to the next replay.
//! - A probe asks a quiet publisher whether batches were missed. If the expected batch arrives live, that answers the
//!   probe: nothing was missed. So no live batch ever waits for the answer to a probe.
//! - If a live number is not above the last one, the publisher has restarted.
//! - A new connection may lead to a publisher that has restarted and reached the same numbers. So the last batch that
//!   was applied is asked for again: if there is another batch under its number, or none, the publisher has restarted.
//!   If it cannot be asked, nobody knows whether batches are missing, and [`Step::Lost`] says so with an empty range.
//! - Batches that a replay does not reach back to, or that several replays did not bring, are lost.
//!
//! Every call appends to a list of steps, which the caller must take in order before the next call.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::service::publisher::fingerprint;

/// What the caller has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step<P> {
    /// Apply this batch, which has this fingerprint.
    Apply { sequence: u64, payload: P, fingerprint: u64, replayed: bool },
    /// Nothing: the batch was applied before.
    Duplicate,
    /// Nothing: there was no room to hold the batch, and a later replay will bring it.
    HeldBack,
    /// Note that batches are missing.
    Gap,
    /// Ask for every batch from this one on, and ignore the rest of an earlier answer. A probe asks although nothing is
    /// known to be missing.
    Replay { from: u64, attempt: u32, probe: bool },
    /// Note that nothing is missing any more. Ignore the rest of an answer.
    Settled,
    /// The publisher restarted: drop everything it stored, and ignore the rest of an answer.
    Restart,
    /// Note that the batches from `from` on and before `to` are lost. If both are equal, it is not known whether any
    /// are missing.
    Lost { from: u64, to: u64 },
    /// Note that the publisher has not sent any batch yet, so nothing can be missing.
    NothingYet,
}

/// How many batches are held, and how often to ask again.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    pub(super) held_batches: usize,
    /// The room for the batches that this and other sequencers hold.
    pub(super) room: Arc<Room>,
    /// Replays without progress before missing batches count as lost.
    pub(super) attempts: u32,
}

/// What a held batch takes at least, in bytes.
const LEAST: usize = 1 << 10;

/// Room for held batches, in bytes.
#[derive(Debug)]
pub(super) struct Room {
    free: AtomicUsize,
}

/// A part of the room, which is free again when this is dropped.
#[derive(Debug)]
struct Share {
    room: Arc<Room>,
    bytes: usize,
}

impl Room {
    pub(super) fn new(bytes: usize) -> Self {
        Self { free: AtomicUsize::new(bytes) }
    }

    fn take(self: &Arc<Self>, bytes: usize) -> Option<Share> {
        let taken = self.free.fetch_update(Relaxed, Relaxed, |free| free.checked_sub(bytes));
        taken.is_ok().then(|| Share { room: Arc::clone(self), bytes })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.room.free.fetch_add(self.bytes, Relaxed);
    }
}

/// Where one publisher is in its numbers.
#[derive(Debug)]
pub(super) struct Sequencer<P> {
    limits: Limits,
    /// Whether the publisher can be asked for a replay.
    replays: bool,
    /// The batch that is expected next: all before it were applied or lost.
    next: u64,
    /// The fingerprint of the batch before `next`, if that one was applied and not lost.
    last: Option<u64>,
    /// The highest number that arrived live from this publisher.
    live: Option<u64>,
    /// Whether nothing has arrived live on this connection yet.
    fresh: bool,
    /// Whether the publisher may be another process than on the last connection. Only a replay can prove that it is
    /// not: a live batch with the expected number may come from either.
    unproven: bool,
    /// The replay that is under way.
    replay: Option<PendingReplay>,
    /// Live batches that arrived while earlier ones were missing.
    held: BTreeMap<u64, (P, Share)>,
    /// Replays since the last one that brought a batch.
    attempts: u32,
}

#[derive(Debug)]
struct PendingReplay {
    /// The first batch that was asked for.
    from: u64,
    /// The highest number that had arrived live on this connection. The publisher has sent this batch, so the answer has
    /// to reach it.
    heard: Option<u64>,
    /// Whether any batch of the answer has arrived.
    answered: bool,
    /// Whether nothing is known to be missing.
    probe: bool,
}

impl<P: AsRef<[u8]>> Sequencer<P> {
    /// Creates a sequencer that expects `next`, behind a batch with the fingerprint `last`.
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
            attempts: 0,
        }
    }

    pub(super) fn is_replaying(&self) -> bool {
        self.replay.is_some()
    }

    /// Begins a new connection: finds out whether the publisher is the same, and what was missed.
    pub(super) fn connected(&mut self, steps: &mut Vec<Step<P>>) {
        (self.fresh, self.unproven) = (true, true);
        self.attempts = 0;
        // What is held is of another publisher, or the replay brings it again.
        self.held.clear();
        if !self.replays {
            // Batches may be missing, and nobody can be asked.
            self.doubt(steps);
        }
        self.ask(false, steps);
    }

    /// Asks a publisher that has been quiet whether batches were missed.
    pub(super) fn probe(&mut self, steps: &mut Vec<Step<P>>) {
        if self.replay.is_none() {
            self.attempts = 0;
            self.ask(true, steps);
        }
    }

    /// Takes a batch that arrived live.
    pub(super) fn live(&mut self, sequence: u64, payload: P, steps: &mut Vec<Step<P>>) {
        // A number comes again: the publisher restarted. This has to be known before `live` is overwritten, and before
        // the batch is compared with `next`, which the restart sets to 0.
        if self.live.is_some_and(|last| sequence <= last) {
            self.restart(steps);
        }
        self.live = Some(sequence);
        self.fresh = false;
        // A replay was faster than the live batch.
        if sequence < self.next {
            return steps.push(Step::Duplicate);
        }
        // The expected batch, and no replay but a probe is under way: nothing was missed.
        let asking = self.replay.as_ref().is_some_and(|replay| !replay.probe);
        if sequence == self.next && !asking {
            if self.replay.take().is_some() {
                steps.push(Step::Settled);
            }
            let fingerprint = fingerprint(payload.as_ref());
            return self.apply(sequence, payload, fingerprint, false, steps);
        }
        // Earlier batches are missing, or the replay that is under way may show that the publisher is another one.
        // Either way, this batch has to wait for the replay.
        if !asking {
            steps.push(Step::Gap);
        }
        self.hold(sequence, payload, steps);
        if let Some(replay) = &mut self.replay {
            // A probe that is under way asks for everything from `next` on, so it brings the missing batches.
            replay.probe = false;
        } else {
            self.attempts = 0;
            self.ask(false, steps);
        }
    }

    /// Takes a batch of the replay.
    pub(super) fn replayed(&mut self, sequence: u64, payload: P, steps: &mut Vec<Step<P>>) {
        let Some(replay) = &mut self.replay else { return };
        let fingerprint = fingerprint(payload.as_ref());
        let first = !std::mem::replace(&mut replay.answered, true);
        // Whether the answer should begin with the last batch that was applied.
        let begins_known = first && replay.from < self.next;
        // It does: the batch is compared with the one that was applied, and not applied again.
        if begins_known && sequence == replay.from {
            if self.last == Some(fingerprint) {
                self.unproven = false;
            } else {
                self.restart(steps);
                self.ask(false, steps);
            }
            return;
        }
        // The expected batch arrived live since the question was sent.
        if sequence < self.next {
            return;
        }
        // Batches are missing between `next` and this one; or none are, but the answer does not begin with the last
        // batch that was applied, so that it is not known whether this is the same publisher.
        if sequence > self.next || (begins_known && self.unproven) {
            // In the middle of an answer, batches were dropped on the way, and asking again may bring them. At its
            // beginning, the publisher does not remember them, and asking again would not help.
            if !first && self.attempts < self.limits.attempts {
                return self.ask(false, steps);
            }
            self.lose(sequence, steps);
        }
        self.attempts = 0;
        self.apply(sequence, payload, fingerprint, true, steps);
        self.forget_earlier_publisher();
    }

    /// Ends the replay, which is complete.
    pub(super) fn replay_ended(&mut self, steps: &mut Vec<Step<P>>) {
        let Some(replay) = self.replay.take() else { return };
        // The publisher does not have the last batch that was applied: it is another one, which has sent less.
        if !replay.answered && replay.from < self.next && self.unproven {
            self.restart(steps);
            return self.ask(false, steps);
        }
        // The answer does not have a batch that arrived before it was asked for: either its end was dropped on the way,
        // or that batch is from before a restart, and must not follow those of the answer.
        if replay.heard.is_some_and(|heard| heard >= self.next) {
            if self.attempts < self.limits.attempts {
                return self.ask(false, steps);
            }
            self.doubt(steps);
        } else if !replay.answered && self.next == 0 {
            steps.push(Step::NothingYet);
        }
        self.release(steps);
    }

    /// Ends the replay, which failed: there was no answer, or it broke off.
    pub(super) fn replay_failed(&mut self, steps: &mut Vec<Step<P>>) {
        let Some(replay) = self.replay.take() else { return };
        if self.attempts < self.limits.attempts {
            return self.ask(replay.probe, steps);
        }
        // It is not known whether this is the same publisher, or what else the answer would have brought.
        if self.unproven || !replay.probe {
            self.doubt(steps);
        }
        self.release(steps);
    }

    /// Ends the replay, which took too long as a whole. Nobody knows what it would still have brought.
    pub(super) fn replay_endless(&mut self, steps: &mut Vec<Step<P>>) {
        if self.replay.take().is_some() {
            self.attempts = self.limits.attempts;
            self.doubt(steps);
            self.release(steps);
        }
    }

    /// Asks for the missing batches, and for the last one that was applied, which proves that the publisher is the
    /// same.
    fn ask(&mut self, probe: bool, steps: &mut Vec<Step<P>>) {
        if !self.replays {
            return self.release(steps);
        }
        let from = self.next - u64::from(self.last.is_some());
        let heard = self.live.filter(|_| !self.fresh);
        self.replay = Some(PendingReplay { from, heard, answered: false, probe });
        steps.push(Step::Replay { from, attempt: self.attempts, probe });
        self.attempts += 1;
    }

    /// Applies the held batches, and asks again if batches before them are still missing or some could not be held.
    fn release(&mut self, steps: &mut Vec<Step<P>>) {
        while let Some((sequence, (payload, share))) = self.held.pop_first() {
            if sequence > self.next {
                // The batches before this one are still missing. Put it back until they were asked for often enough.
                if self.replays && self.attempts < self.limits.attempts {
                    self.held.insert(sequence, (payload, share));
                    return self.ask(false, steps);
                }
                self.lose(sequence, steps);
            }
            if sequence < self.next {
                steps.push(Step::Duplicate);
            } else {
                let fingerprint = fingerprint(payload.as_ref());
                self.apply(sequence, payload, fingerprint, false, steps);
            }
        }
        // Otherwise the next condition could wait for a batch of the earlier publisher.
        self.forget_earlier_publisher();
        if let Some(live) = self.live.filter(|&live| live >= self.next) {
            // There was no room to hold this batch, so it is still missing.
            if self.replays && self.attempts < self.limits.attempts {
                return self.ask(false, steps);
            }
            self.lose(live + 1, steps);
        }
        steps.push(Step::Settled);
    }

    /// Forgets which batches arrived live on earlier connections, if this connection may lead to another publisher.
    /// Otherwise that one's first live batch could look like a restart, and it would be asked for batches that it never
    /// had.
    fn forget_earlier_publisher(&mut self) {
        if self.fresh && self.unproven && self.live.is_some_and(|live| live >= self.next) {
            self.live = self.next.checked_sub(1);
        }
    }

    /// Holds a live batch until the replay is over, if there is room.
    fn hold(&mut self, sequence: u64, payload: P, steps: &mut Vec<Step<P>>) {
        let has_room = self.held.len() < self.limits.held_batches;
        match self.limits.room.take(payload.as_ref().len().max(LEAST)).filter(|_| has_room) {
            Some(share) => drop(self.held.insert(sequence, (payload, share))),
            None => steps.push(Step::HeldBack),
        }
    }

    fn apply(&mut self, sequence: u64, payload: P, fingerprint: u64, replayed: bool, steps: &mut Vec<Step<P>>) {
        self.last = Some(fingerprint);
        self.next = sequence + 1;
        steps.push(Step::Apply { sequence, payload, fingerprint, replayed });
    }

    /// Gives up the batches before `to`.
    fn lose(&mut self, to: u64, steps: &mut Vec<Step<P>>) {
        steps.push(Step::Lost { from: self.next, to });
        self.next = to;
        self.last = None;
        // The publisher is doubted from now on, so it no longer matters which one it is.
        self.unproven = false;
    }

    /// Notes that batches may be missing, unless held batches are about to show which.
    fn doubt(&mut self, steps: &mut Vec<Step<P>>) {
        if self.held.keys().next().is_none_or(|&held| held <= self.next) {
            self.lose(self.next, steps);
        }
    }

    /// Begins again with a publisher that restarted. It may have done so at any time, so what is held may be from before
    /// that. The replay brings what is not.
    fn restart(&mut self, steps: &mut Vec<Step<P>>) {
        steps.push(Step::Restart);
        self.held.clear();
        (self.next, self.last, self.replay, self.attempts, self.unproven) = (0, None, None, 0, false);
        if self.fresh {
            self.live = None;
        }
    }
}

#[cfg(test)]
#[path = "sequence/tests.rs"] // Named, because a fuzz target includes this file from elsewhere.
mod tests;
