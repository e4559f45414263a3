//! The mailbox of a shard: senders put messages in, and the shard's writer takes them out in the same order.
//!
//! It is bounded in events and in bytes. A message takes room from when it is put in until the writer has applied it
//! and gives the room back, so what the writer has taken out and not applied yet counts as well. A message without
//! events, a question, takes no room and never waits for any: whoever asks waits for the answer, so there are no more
//! questions than threads that ask.
//!
//! Messages travel in a channel of flume that has no bound of its own. This file bounds it, under a lock that senders
//! and the writer take for a few additions.
//!
//! # Why a lock and not atomics
//! Sending and closing must not overlap, or the mailbox would accept a message that nobody takes out. A lock ensures
//! that, and under it two bounds cost two additions. The writer gives room back once for many messages, so it seldom
//! takes the lock. At most one sender waits for `room`: the one that holds `turn`. The others wait for `turn`, so one
//! release wakes one sender and not all of them. `wanted` is what the waiting sender needs. Nobody overtakes a waiting
//! sender, or one that needs much room might wait for ever.
//!
//! Every wait is in a loop that checks its condition under the lock, and whoever makes a condition true does that under
//! the lock, before it wakes anybody. So no wakeup is lost. `turn` is locked before the lock of the state, and never by
//! the writer. A model checker runs this file, see `tests/loom.rs`; therefore it takes its primitives from `super`.

use std::collections::VecDeque;
use std::sync::PoisonError;

use super::flume::{Receiver, Sender, unbounded};
use super::sync::atomic::{AtomicBool, Ordering::Relaxed};
use super::sync::{Condvar, Mutex, MutexGuard};

/// What messages take in a mailbox, and how much of it there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) events: usize,
    pub(crate) bytes: usize,
}

impl Room {
    /// Adds what another message takes.
    #[inline]
    pub(crate) fn add(&mut self, other: Self) {
        self.events += other.events;
        self.bytes += other.bytes;
    }
}

/// Why a message was handed back.
#[derive(Debug)]
pub(crate) enum Refused<M> {
    /// There is no room for it now.
    Full(M),
    /// Nobody will take it out.
    Closed(M),
}

/// The mailbox of a shard.
#[derive(Debug)]
pub(crate) struct Mailbox<M> {
    most: Room,
    state: Mutex<State<M>>,
    /// Whether it is closed, for those who must not take the lock. Relaxed is enough, even for whoever sees it and then
    /// tries to send: had it taken the lock before `close` did, its load of the flag would have come before the store.
    /// Nothing else is read because of it.
    closed: AtomicBool,
    waiting: Receiver<M>,
    room: Condvar,
    turn: Mutex<()>,
}

#[derive(Debug)]
struct State<M> {
    /// `None` once the mailbox is closed.
    sender: Option<Sender<M>>,
    used: Room,
    /// What the sender needs that waits for room, if one does.
    wanted: Option<Room>,
}

/// How many messages a writer that has nothing to do keeps memory for.
const KEPT: usize = 256;

impl<M> Mailbox<M> {
    pub(crate) fn new(most: Room) -> Self {
        let (sender, waiting) = unbounded();
        let state = State { sender: Some(sender), used: Room::default(), wanted: None };
        Self {
            most,
            state: Mutex::new(state),
            closed: AtomicBool::new(false),
            waiting,
            room: Condvar::new(),
            turn: Mutex::new(()),
        }
    }

    /// Returns how much room there is in the empty mailbox.
    pub(crate) fn most(&self) -> Room {
        self.most
    }

    /// Returns how much room is in use.
    pub(crate) fn used(&self) -> Room {
        lock(&self.state).used
    }

    /// Whether nothing can be put in any more. Takes no lock.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Relaxed)
    }

    /// Whether no message waits to be taken out.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether a sender waits for room.
    #[cfg(test)]
    pub(crate) fn has_waiting(&self) -> bool {
        lock(&self.state).wanted.is_some()
    }

    /// Whether less than half of the room is in use, or a message would be handed back at once.
    pub(crate) fn is_half_free(&self) -> bool {
        let state = lock(&self.state);
        let half = Room { events: self.most.events.div_ceil(2), bytes: self.most.bytes.div_ceil(2) };
        let is_free = state.used.events < half.events && state.used.bytes < half.bytes;
        state.sender.is_none() || (is_free && state.wanted.is_none())
    }

    /// Puts a message in that takes this much room, unless there is too little or another sender waits for room
    /// already.
    #[inline]
    pub(crate) fn try_send(&self, message: M, room: Room) -> Result<(), Refused<M>> {
        let mut state = lock(&self.state);
        if state.sender.is_none() {
            return Err(Refused::Closed(message));
        }
        if room.events > 0 && (state.wanted.is_some() || !self.fits(state.used, room)) {
            return Err(Refused::Full(message));
        }
        state.put(message, room).map_err(Refused::Closed)
    }

    /// Puts a message in that takes this much room, and waits until there is room. Hands the message back if the
    /// mailbox is closed, even if that happens while it waits.
    #[cold]
    pub(crate) fn send(&self, message: M, room: Room) -> Result<(), M> {
        let _turn = lock(&self.turn);
        let mut state = lock(&self.state);
        while state.sender.is_some() && !self.fits(state.used, room) {
            state.wanted = Some(room);
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.wanted = None;
        state.put(message, room)
    }

    /// Whether there is room. A message that needs more room than the whole mailbox has is taken when the mailbox is
    /// empty: otherwise it could never be sent.
    #[inline]
    fn fits(&self, used: Room, room: Room) -> bool {
        used == Room::default()
            || (used.events.saturating_add(room.events) <= self.most.events
                && used.bytes.saturating_add(room.bytes) <= self.most.bytes)
    }

    /// Takes out all messages, oldest first, into an empty queue. Returns `false` if there are none.
    pub(crate) fn try_take(&self, into: &mut VecDeque<M>) -> bool {
        into.extend(self.waiting.drain());
        !into.is_empty()
    }

    /// Takes out the oldest message, into an empty queue. Waits until there is one. Returns `false` if the mailbox is closed
    /// and empty. For a writer that has found nothing with [`try_take`](Self::try_take).
    pub(crate) fn take(&self, into: &mut VecDeque<M>) -> bool {
        // A burst must not leave its memory behind.
        into.shrink_to(KEPT);
        into.extend(self.waiting.recv());
        !into.is_empty()
    }

    /// Gives back the room of messages that were taken out.
    pub(crate) fn release(&self, room: Room) {
        let mut state = lock(&self.state);
        // If it was abandoned meanwhile, nothing is in use any more.
        state.used.events = state.used.events.saturating_sub(room.events);
        state.used.bytes = state.used.bytes.saturating_sub(room.bytes);
        let wake = state.wanted.is_some_and(|wanted| self.fits(state.used, wanted));
        drop(state);
        if wake {
            self.room.notify_one();
        }
    }

    /// Ends sending. What was put in before can still be taken out, and whoever waits for room is let go.
    pub(crate) fn close(&self) {
        lock(&self.state).sender = None;
        self.closed.store(true, Relaxed);
        // A sender that waits for its turn finds the mailbox closed when the one before it leaves.
        self.room.notify_one();
    }

    /// Ends sending and drops what is in the mailbox: nobody needs it any more.
    pub(crate) fn abandon(&self) {
        self.close();
        self.waiting.drain().for_each(drop);
        lock(&self.state).used = Room::default();
    }
}

impl<M> State<M> {
    /// Puts a message in, unless the mailbox is closed.
    #[inline]
    fn put(&mut self, message: M, room: Room) -> Result<(), M> {
        let Some(sender) = &self.sender else { return Err(message) };
        sender.send(message).map_err(|refused| refused.0)?;
        self.used.add(room);
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
