//! No index at all, to measure what the caller itself costs.

use super::{Backend, Design, Reader};
use crate::event::{Event, Worker};

#[derive(Debug)]
pub(super) struct Null;

impl Backend for Null {
    fn name(&self) -> &'static str {
        Design::Null.name()
    }

    fn apply(&self, _: Event) {}

    fn reader(&self) -> Box<dyn Reader + Send + '_> {
        Box::new(Self)
    }

    fn flush(&self) {}

    fn queued(&self) -> usize {
        0
    }

    fn rejected(&self) -> u64 {
        0
    }
}

impl Reader for Null {
    fn find(&mut self, _: &[u64], scores: &mut Vec<(Worker, u32)>) {
        scores.clear();
    }
}
