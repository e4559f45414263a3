//! A system whose events are applied on a thread of its own: what a router does with an index that has no such thread.
//!
//! Cost model: the caller puts the event into a bounded channel, and the thread applies it. When nothing waits in the
//! channel, the thread flushes the system (which publishes, if the system does that), and only then counts as done what
//! it has applied.

use std::hint::spin_loop;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use flume::{Receiver, Sender};

use super::{Fleet, Open, System, Writer};

pub struct Separated<S>(PhantomData<S>);

/// Events that may wait in the channel: as many as in the mailbox of our index by default.
const CAPACITY: usize = 65_536;

impl<S: System> System for Separated<S>
where
    S::Writer: 'static,
    <S::Writer as Writer>::Event: 'static,
{
    type Writer = Lane<<S::Writer as Writer>::Event>;
    type Reader = S::Reader;

    fn open(fleet: Fleet) -> Open<Self::Writer, S::Reader> {
        let Open { encode, writer, reader } = S::open(fleet);
        let (sender, waiting) = flume::bounded(CAPACITY);
        let done = Arc::new(AtomicU64::new(0));
        let thread = thread::spawn({
            let done = Arc::clone(&done);
            move || apply(writer, &waiting, &done)
        });
        Open { encode, writer: Lane { sender: Some(sender), sent: 0, done, thread: Some(thread) }, reader }
    }
}

/// Applies events until nobody can send any more.
fn apply<W: Writer>(mut writer: W, waiting: &Receiver<W::Event>, done: &AtomicU64) {
    let mut applied = 0;
    for event in waiting {
        writer.apply(event);
        applied += 1;
        if waiting.is_empty() {
            writer.flush();
            // Pairs with the load in `Lane::flush`: whoever sees the number sees what was applied.
            done.store(applied, Ordering::Release);
        }
    }
}

/// The caller's end of the channel.
pub struct Lane<E> {
    sender: Option<Sender<E>>,
    sent: u64,
    done: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl<E> Drop for Lane<E> {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take() {
            // What it applied is freed before anything else is measured.
            thread.join().expect("the thread does not panic");
        }
    }
}

impl<E: Send> Writer for Lane<E> {
    type Event = E;

    fn apply(&mut self, event: E) {
        self.sender.as_ref().expect("it is not dropped").send(event).expect("the thread runs");
        self.sent += 1;
    }

    fn flush(&mut self) {
        // Pairs with the store in the thread's loop.
        while self.done.load(Ordering::Acquire) < self.sent {
            spin_loop();
        }
    }
}
