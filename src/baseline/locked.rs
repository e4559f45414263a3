//! A model behind one lock: every event and every lookup waits for all others.

use std::sync::{Mutex, MutexGuard};

use super::model::Model;
use super::{Backend, Reader};
use crate::event::{Event, Worker};

#[derive(Debug)]
pub(super) struct Locked<M> {
    name: &'static str,
    state: Mutex<State<M>>,
}

#[derive(Debug, Default)]
struct State<M> {
    model: M,
    rejected: u64,
}

impl<M: Model> Locked<M> {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State<M>> {
        self.state.lock().expect("no thread has panicked over the model")
    }
}

impl<M: Model + std::fmt::Debug + Send> Backend for Locked<M> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn apply(&self, event: Event) {
        let State { model, rejected } = &mut *self.lock();
        *rejected += u64::from(model.apply(&event).is_err());
    }

    fn reader(&self) -> Box<dyn Reader + Send + '_> {
        Box::new(self)
    }

    fn flush(&self) {}

    fn queued(&self) -> usize {
        0
    }

    fn rejected(&self) -> u64 {
        self.lock().rejected
    }
}

impl<M: Model> Reader for &Locked<M> {
    fn find(&mut self, query: &[u64], scores: &mut Vec<(Worker, u32)>) {
        scores.clear();
        self.lock().model.find(query, scores);
    }
}
