//! What a replay counts and times.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::Request;
use crate::event::{EventData, Worker};

/// What the loop counts, in requests, events and blocks, and times.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) requests: u64,
    pub(super) query_blocks: u64,
    pub(super) matched_blocks: u64,
    pub(super) best_matched_blocks: u64,
    pub(super) cut_requests: u64,
    pub(super) events: u64,
    pub(super) stored_blocks: u64,
    pub(super) removed_blocks: u64,
    /// Lookup times in nanoseconds.
    pub(super) lookup: Histogram<u64>,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self {
            requests: 0,
            query_blocks: 0,
            matched_blocks: 0,
            best_matched_blocks: 0,
            cut_requests: 0,
            events: 0,
            stored_blocks: 0,
            removed_blocks: 0,
            lookup: histogram(),
        }
    }

    pub(super) fn lookup(&mut self, took: Duration) {
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        // `saturating_record` would clamp to the range so far instead of growing it.
        self.lookup.record(nanoseconds).expect("a histogram that resizes takes any value");
    }

    pub(super) fn request(&mut self, request: &Request, answer: &[(Worker, u32)], assigned: Worker) {
        let depth_of = |worker| answer.iter().find(|&&(w, _)| w == worker).map_or(0, |&(_, depth)| u64::from(depth));
        self.requests += 1;
        self.query_blocks += request.prompt.len() as u64;
        self.matched_blocks += depth_of(assigned);
        self.best_matched_blocks += answer.iter().map(|&(_, depth)| u64::from(depth)).max().unwrap_or(0);
    }

    pub(super) fn event(&mut self, data: &EventData) {
        self.events += 1;
        match data {
            EventData::Stored { blocks, .. } => self.stored_blocks += blocks.len() as u64,
            EventData::Removed { blocks } => self.removed_blocks += blocks.len() as u64,
            EventData::Cleared | EventData::WorkerRemoved | EventData::WorkerAdded | EventData::CopiesCounted => {}
        }
    }
}

/// Creates a histogram of nanoseconds, to three significant digits, whose range grows with its values.
pub(super) fn histogram() -> Histogram<u64> {
    Histogram::new(3).expect("three significant digits are within its limits")
}
