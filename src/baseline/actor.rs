//! A design behind an actor (Hewitt, Bishop and Steiger 1973), as the second, third and fourth of the story are.
//!
//! One thread owns the model and serves two bounded queues, of events and of lookups, without a preference. Nothing is
//! shared and nothing is locked, so the model may be made of `Rc` and `RefCell`.
//!
//! **Cost**: a lookup takes two messages and two thread switches, and waits for what the thread is doing: one event or
//! lookup at a time, for the whole fleet.
//!
//! **Wrong answers**: those of the model. The second design has those of the [nested dictionary](super::nested).

use std::io;

use crossbeam_channel::{Sender, bounded, select};

use super::model::Model;
use super::thread::Thread;
use super::{Backend, Reader, Writers};
use crate::event::{Event, Worker};

/// The lengths of the queues in the story.
const EVENTS: usize = 2048;
const LOOKUPS: usize = 128;

#[derive(Debug)]
pub(super) struct Actor {
    name: &'static str,
    lookups: Sender<Lookup>,
    thread: Thread,
}

#[derive(Debug)]
struct Lookup {
    query: Vec<u64>,
    /// The caller's buffer for the answer.
    scores: Vec<(Worker, u32)>,
    reply: Sender<Vec<(Worker, u32)>>,
}

impl Actor {
    /// Starts an actor with an empty `M`, which is created on the actor's thread.
    pub(super) fn start<M: Model>(name: &'static str, writers: &Writers) -> io::Result<Self> {
        let (lookups, questions) = bounded::<Lookup>(LOOKUPS);
        let thread =
            Thread::start(format!("kvleap-{name}"), Some(EVENTS), writers.core(0), move |events, progress| {
                let mut model = M::default();
                loop {
                    select! {
                        recv(events) -> message => {
                            if !message.is_ok_and(|message| progress.handle(message, &mut model)) {
                                return;
                            }
                        }
                        recv(questions) -> lookup => {
                            let Ok(Lookup { query, mut scores, reply }) = lookup else { return };
                            model.find(&query, &mut scores);
                            // The send fails only if the caller has gone away, and needs no answer.
                            let _ = reply.send(scores);
                        }
                    }
                }
            })?;
        Ok(Self { name, lookups, thread })
    }
}

impl Backend for Actor {
    fn name(&self) -> &'static str {
        self.name
    }

    fn apply(&self, event: Event) {
        self.thread.apply(event);
    }

    fn reader(&self) -> Box<dyn Reader + Send + '_> {
        Box::new(&self.lookups)
    }

    fn flush(&self) {
        self.thread.flush().recv().expect("the actor answers, unless it panicked");
    }

    fn queued(&self) -> usize {
        self.thread.queued()
    }

    fn rejected(&self) -> u64 {
        self.thread.rejected()
    }
}

impl Reader for &Sender<Lookup> {
    fn find(&mut self, query: &[u64], scores: &mut Vec<(Worker, u32)>) {
        scores.clear();
        let (reply, answer) = bounded(1);
        let lookup = Lookup { query: query.to_vec(), scores: std::mem::take(scores), reply };
        self.send(lookup).expect("the actor outlives its readers, unless it panicked");
        *scores = answer.recv().expect("the actor answers, unless it panicked");
    }
}
