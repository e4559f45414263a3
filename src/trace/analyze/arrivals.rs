//! When requests arrive, and their working set over time.

use std::mem;

use serde::Serialize;

use super::tally::{Summary, Tally};
use crate::trace::prefixes::{Growth, PrefixTree};

/// A window of time with at least one request.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Window {
    /// Start of the window, in milliseconds of the trace.
    pub start_ms: u64,
    /// Requests that arrived in it.
    pub requests: u64,
    /// Blocks of these requests, repetitions included.
    pub blocks: u64,
    /// Distinct blocks of these requests: the working set.
    pub distinct_blocks: u64,
    /// Distinct blocks that occur here for the first time.
    pub new_blocks: u64,
}

/// How requests arrive.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Arrivals {
    /// Time from the first request to the last, in milliseconds.
    pub duration_ms: u64,
    /// All requests, divided by that time; `None` if the time is 0.
    pub requests_per_second: Option<f64>,
    /// Requests in the busiest window. This is a number and no rate, because a trace may be shorter than a window, or
    /// begin or end in the middle of one.
    pub busiest_window_requests: u64,
    /// Milliseconds from one request to the next, including zeros; `None` if there is only one request.
    pub gap_ms: Option<Summary>,
}

/// Collects arrivals and windows.
#[derive(Debug)]
pub(super) struct ArrivalCounter {
    length_ms: u64,
    first: Option<u64>,
    last: u64,
    gaps: Tally,
    windows: Vec<Window>,
    /// By node, the last window that had it, from 1.
    seen: Vec<u32>,
}

impl ArrivalCounter {
    pub(super) fn new(length_ms: u64) -> Self {
        Self { length_ms, first: None, last: 0, gaps: Tally::default(), windows: Vec::new(), seen: Vec::new() }
    }

    /// Counts a request, which must not be earlier than the previous one.
    pub(super) fn request(&mut self, timestamp: u64, path: &[u32], growth: Growth, prefixes: &PrefixTree) {
        match self.first {
            Some(_) => self.gaps.add((timestamp - self.last) as f64),
            None => self.first = Some(timestamp),
        }
        self.last = timestamp;
        let start_ms = timestamp - timestamp % self.length_ms;
        if self.windows.last().is_none_or(|window| window.start_ms != start_ms) {
            self.windows.push(Window { start_ms, ..Window::default() });
        }
        growth.follow(&mut self.seen);
        let distinct = self.see(path, prefixes);
        let blocks: u64 = path.iter().map(|&node| prefixes.len_of(node) as u64).sum();
        let window = self.windows.last_mut().expect("one was pushed if there was none");
        window.requests += 1;
        window.blocks += blocks;
        window.distinct_blocks += distinct;
        window.new_blocks += blocks - growth.known as u64;
    }

    /// Returns how many blocks of the path are new in this window. The known ones are the shallowest, so the search
    /// from the end stops at the first of them.
    fn see(&mut self, path: &[u32], prefixes: &PrefixTree) -> u64 {
        let now = self.windows.len() as u32;
        let mut distinct = 0;
        for &node in path.iter().rev() {
            if mem::replace(&mut self.seen[node as usize], now) == now {
                break;
            }
            distinct += prefixes.len_of(node) as u64;
        }
        distinct
    }

    pub(super) fn finish(self) -> (Arrivals, Vec<Window>) {
        let duration_ms = self.last - self.first.unwrap_or(0);
        let requests: u64 = self.windows.iter().map(|window| window.requests).sum();
        let busiest = self.windows.iter().map(|window| window.requests).max().unwrap_or(0);
        let arrivals = Arrivals {
            duration_ms,
            requests_per_second: (duration_ms > 0).then(|| requests as f64 * 1e3 / duration_ms as f64),
            busiest_window_requests: busiest,
            gap_ms: self.gaps.summary(),
        };
        (arrivals, self.windows)
    }
}
