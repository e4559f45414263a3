//! Loom runs every interleaving of publishing, reading and reclaiming, and of sending, receiving and closing, up to a
//! number of preemptions.
//!
//! The files under test are the index's own. `publish.rs` gets a payload and a cell made of loom's primitives in place
//! of the real ones. arc-swap itself is not modelled. The stand-in cell is a locked pointer, which promises no more than
//! we rely on: a load after a swap sees the new snapshot, and a loaded snapshot is referenced while it is used.
//! `mailbox.rs` gets loom's locks, and a queue with such a lock in place of a channel of flume, which is not modelled
//! either; a wakeup that is lost shows as a deadlock. We use loom and not shuttle, because the
//! protocols are small enough to be checked exhaustively.

#[path = "../src/index/mailbox.rs"]
#[allow(dead_code, reason = "what only the index uses")]
mod mailbox;
#[path = "../src/index/publish.rs"]
#[allow(dead_code, reason = "the cell of the real index")]
mod publish;

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU64, Ordering::Relaxed};
use loom::sync::{self, Arc, Mutex};
use loom::thread;

use mailbox::{Mailbox, Refused, Room};
use publish::{Cell, Publication, Shared, Updatable};

/// An append-only array, shared by the writer and all snapshots, as the position arrays are.
struct State {
    slots: std::sync::Arc<Vec<AtomicU64>>,
    len: usize,
}

/// A snapshot: how much of the array a reader may look at. Loom fails if `len` is changed while somebody reads it.
struct Snapshot {
    len: UnsafeCell<usize>,
    slots: std::sync::Arc<Vec<AtomicU64>>,
    writer: thread::ThreadId,
}

impl Updatable for Snapshot {
    type State = State;
    type Change = u64;
    type Stamp = ();

    fn take(state: &State, (): &()) -> Self {
        Self { len: UnsafeCell::new(state.len), slots: state.slots.clone(), writer: thread::current().id() }
    }

    fn update(&mut self, state: &State, changes: &[u64], (): &()) {
        self.len.with_mut(|len| {
            // SAFETY: `&mut self`, and loom checks that it is exclusive.
            #[allow(unsafe_code, reason = "loom's cell hands out pointers")]
            let len = unsafe { &mut *len };
            assert!(changes.len() >= state.len - *len, "every change since this snapshot was current is listed");
            *len = state.len;
        });
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        assert_eq!(thread::current().id(), self.writer, "no reader pays for freeing a snapshot");
    }
}

impl Snapshot {
    /// Looks at every slot that the snapshot shows, and returns how many there are.
    fn read(&self) -> usize {
        // SAFETY: readers only read, and loom checks that nobody writes meanwhile.
        #[allow(unsafe_code, reason = "loom's cell hands out pointers")]
        let len = self.len.with(|len| unsafe { *len });
        assert!(self.slots[..len].iter().all(|slot| slot.load(Relaxed) != 0), "a published slot was written before");
        len
    }
}

impl<P> Shared<P> for Arc<P> {
    fn new(value: P) -> Self {
        Self::new(value)
    }

    fn get_mut(&mut self) -> Option<&mut P> {
        Self::get_mut(self)
    }
}

struct LockedCell<P>(Mutex<Arc<P>>);

impl<P> LockedCell<P> {
    fn load(&self) -> Arc<P> {
        self.0.lock().unwrap().clone()
    }
}

impl<P> Cell<P> for LockedCell<P> {
    type Shared = Arc<P>;

    fn new(current: Arc<P>) -> Self {
        Self(Mutex::new(current))
    }

    fn swap(&self, next: Arc<P>) -> Arc<P> {
        std::mem::replace(&mut *self.0.lock().unwrap(), next)
    }
}

/// Checks one writer that publishes this often beside these readers.
fn model(preemptions: usize, readers: usize, loads: usize, publications: usize) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(move || {
        let mut state =
            State { slots: std::sync::Arc::new((0..publications).map(|_| AtomicU64::new(0)).collect()), len: 0 };
        let mut publication = Publication::<Snapshot, LockedCell<Snapshot>>::new(&state, &());
        let readers: Vec<_> = (0..readers)
            .map(|_| {
                let cell = publication.cell().clone();
                thread::spawn(move || {
                    let mut seen = 0;
                    for _ in 0..loads {
                        let now = cell.load().read();
                        assert!(now >= seen, "a reader never goes back");
                        seen = now;
                    }
                })
            })
            .collect();
        for change in 0..publications {
            state.slots[change].store(change as u64 + 1, Relaxed);
            state.len += 1;
            publication.publish(&state, &[change as u64], &());
            if change % 2 == 1 {
                publication.catch_up(&state, &());
            }
        }
        assert_eq!(publication.cell().load().read(), publications);
        for reader in readers {
            reader.join().unwrap();
        }
    });
}

#[test]
fn one_reader_is_safe_beside_many_publications() {
    model(5, 1, 4, 7);
}

#[test]
fn two_readers_are_safe_beside_a_few_publications() {
    model(3, 2, 3, 5);
}

/// A stand-in for a channel of flume, as far as the mailbox uses one: messages come out in the order in which they were
/// put in, and receiving ends when there is no sender and nothing left.
mod flume {
    use std::collections::VecDeque;

    use loom::sync::{Arc, Condvar, Mutex};

    #[derive(Debug)]
    struct Channel<M> {
        state: Mutex<(VecDeque<M>, bool)>,
        filled: Condvar,
    }

    #[derive(Debug)]
    pub(crate) struct Sender<M>(Arc<Channel<M>>);

    #[derive(Debug)]
    pub(crate) struct Receiver<M>(Arc<Channel<M>>);

    #[derive(Debug)]
    pub(crate) struct SendError<M>(pub(crate) M);

    pub(crate) fn unbounded<M>() -> (Sender<M>, Receiver<M>) {
        let channel = Channel { state: Mutex::new((VecDeque::new(), true)), filled: Condvar::new() };
        let channel = Arc::new(channel);
        (Sender(Arc::clone(&channel)), Receiver(channel))
    }

    impl<M> Sender<M> {
        #[allow(clippy::unnecessary_wraps, reason = "that of flume may fail")]
        pub(crate) fn send(&self, message: M) -> Result<(), SendError<M>> {
            self.0.state.lock().unwrap().0.push_back(message);
            self.0.filled.notify_one();
            Ok(())
        }
    }

    impl<M> Drop for Sender<M> {
        fn drop(&mut self) {
            self.0.state.lock().unwrap().1 = false;
            self.0.filled.notify_one();
        }
    }

    impl<M> Receiver<M> {
        pub(crate) fn recv(&self) -> Result<M, ()> {
            let mut state = self.0.state.lock().unwrap();
            loop {
                match state.0.pop_front() {
                    Some(message) => return Ok(message),
                    None if !state.1 => return Err(()),
                    None => state = self.0.filled.wait(state).unwrap(),
                }
            }
        }

        pub(crate) fn is_empty(&self) -> bool {
            self.0.state.lock().unwrap().0.is_empty()
        }

        pub(crate) fn drain(&self) -> impl Iterator<Item = M> + use<M> {
            std::mem::take(&mut self.0.state.lock().unwrap().0).into_iter()
        }
    }
}

/// A message: who sent it, and which of the sender's messages it is.
type Numbered = (usize, u32);

fn room(events: usize, bytes: usize) -> Room {
    Room { events, bytes }
}

/// Sends this many messages of this size, and returns how many were accepted before one was handed back.
fn send(mailbox: &Mailbox<Numbered>, sender: usize, messages: u32, bytes: usize) -> u32 {
    for number in 0..messages {
        let sent = match mailbox.try_send((sender, number), room(1, bytes)) {
            Err(Refused::Full(message)) => mailbox.send(message, room(1, bytes)),
            other => other.map_err(|refused| match refused {
                Refused::Full(message) | Refused::Closed(message) => message,
            }),
        };
        if let Err(back) = sent {
            assert_eq!(back, (sender, number), "what is not accepted is handed back");
            return number;
        }
    }
    messages
}

/// Takes out messages until there are `most`, or the mailbox has ended, and checks the order of each sender's messages.
/// Returns how many came from each sender.
fn receive(mailbox: &Mailbox<Numbered>, sizes: [usize; 2], most: u32) -> [u32; 2] {
    let mut received = [0; 2];
    let mut taken = std::collections::VecDeque::new();
    while received.iter().sum::<u32>() < most && mailbox.take(&mut taken) {
        while let Some((sender, number)) = taken.pop_front() {
            assert_eq!(number, received[sender], "a sender's messages come in their order");
            received[sender] += 1;
            mailbox.release(room(1, sizes[sender]));
        }
    }
    received
}

/// Checks two senders of messages of these sizes beside a writer that takes all of them out.
fn senders_get_through(most: Room, messages: u32, sizes: [usize; 2]) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(move || {
        let mailbox = Arc::new(Mailbox::new(most));
        let senders = [0, 1].map(|sender| {
            let mailbox = Arc::clone(&mailbox);
            thread::spawn(move || send(&mailbox, sender, messages, sizes[sender]))
        });
        assert_eq!(receive(&mailbox, sizes, 2 * messages), [messages; 2]);
        assert_eq!(senders.map(|sender| sender.join().unwrap()), [messages; 2]);
        assert_eq!(mailbox.used(), room(0, 0), "all room was given back");
        assert!(mailbox.is_half_free(), "nobody is waited for any more");
    });
}

#[test]
fn senders_that_wait_for_one_place_get_through() {
    senders_get_through(room(1, 100), 2, [1, 1]);
}

#[test]
fn a_message_larger_than_the_mailbox_gets_through_beside_small_ones() {
    senders_get_through(room(9, 2), 2, [1, 5]);
}

/// Checks two senders beside a writer and somebody who ends the mailbox in this way.
fn all_are_let_go(end: fn(&Mailbox<Numbered>), all_is_received: bool) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(move || {
        let mailbox = Arc::new(Mailbox::new(room(1, 100)));
        let senders = [0, 1].map(|sender| {
            let mailbox = Arc::clone(&mailbox);
            thread::spawn(move || send(&mailbox, sender, 2, 1))
        });
        let ending = {
            let mailbox = Arc::clone(&mailbox);
            thread::spawn(move || end(&mailbox))
        };
        // A writer that dies takes nothing out any more.
        let received = if all_is_received { receive(&mailbox, [1, 1], u32::MAX) } else { [0; 2] };
        ending.join().unwrap();
        let accepted = senders.map(|sender| sender.join().unwrap());
        if all_is_received {
            assert_eq!(received, accepted, "what is accepted is taken out");
        }
        assert!(mailbox.is_closed());
        assert_eq!(mailbox.used(), room(0, 0), "what nobody will take out takes no room");
    });
}

#[test]
fn a_close_lets_senders_go_and_loses_nothing() {
    all_are_let_go(Mailbox::close, true);
}

#[test]
fn senders_are_let_go_when_the_writer_is_dead() {
    all_are_let_go(Mailbox::abandon, false);
}

/// The flag is Relaxed, and whoever sees it may rely on what it says.
#[test]
fn nothing_is_accepted_once_a_mailbox_was_seen_closed() {
    for end in [Mailbox::close, Mailbox::abandon] {
        loom::model(move || {
            let mailbox = Arc::new(Mailbox::<Numbered>::new(room(9, 100)));
            let sender = {
                let mailbox = Arc::clone(&mailbox);
                thread::spawn(move || {
                    let closed = mailbox.is_closed();
                    let accepted = mailbox.try_send((0, 0), room(1, 1)).is_ok();
                    assert!(!(closed && accepted), "seen closed, and open after that");
                })
            };
            end(&mailbox);
            sender.join().unwrap();
        });
    }
}

#[test]
fn nobody_overtakes_a_sender_that_waits() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(|| {
        let mailbox = Arc::new(Mailbox::new(room(9, 2)));
        assert!(mailbox.try_send("first", room(1, 1)).is_ok());
        let large = {
            let mailbox = Arc::clone(&mailbox);
            thread::spawn(move || assert!(mailbox.send("large", room(1, 2)).is_ok()))
        };
        let small = {
            let mailbox = Arc::clone(&mailbox);
            thread::spawn(move || mailbox.has_waiting() && mailbox.try_send("small", room(1, 1)).is_ok())
        };
        let (mut all, mut taken) = (Vec::new(), std::collections::VecDeque::new());
        while all.last() != Some(&"large") {
            assert!(mailbox.take(&mut taken));
            for message in taken.drain(..) {
                mailbox.release(room(1, if message == "large" { 2 } else { 1 }));
                all.push(message);
            }
        }
        large.join().unwrap();
        // If the small message was accepted after all, then behind the large one.
        let accepted = small.join().unwrap();
        assert_eq!((all, mailbox.try_take(&mut taken)), (vec!["first", "large"], accepted));
    });
}

/// A question is a message without room that bears the way back for the answer. The writer takes out what is there, and
/// dies before it answers.
#[test]
fn nobody_waits_for_the_answer_of_a_dead_writer() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(|| {
        let mailbox = Arc::new(Mailbox::new(room(1, 100)));
        let askers = [0, 1].map(|_| {
            let mailbox = Arc::clone(&mailbox);
            thread::spawn(move || {
                let (reply, answer) = flume::unbounded::<()>();
                // Either the question is refused, or the way back for its answer is dropped.
                let accepted = mailbox.try_send(reply, room(0, 0)).is_ok();
                assert!(!accepted || answer.recv().is_err());
            })
        });
        let mut taken = std::collections::VecDeque::new();
        mailbox.try_take(&mut taken);
        mailbox.abandon();
        taken.clear();
        for asker in askers {
            asker.join().unwrap();
        }
    });
}
