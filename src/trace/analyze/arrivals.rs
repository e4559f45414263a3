//! When requests arrive, and what they need at a time.

use std::mem;

use serde::Serialize;

use super::tally::{Summary, Tally};
use crate::trace::prefixes::{Growth, PrefixTree};

/// A stretch of time in which there was a request.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Window {
    /// When it begins, in milliseconds of the trace.
    pub start_ms: u64,
    /// Requests that arrived in it.
    pub requests: u64,
    /// Their blocks, repetitions counted.
    pub blocks: u64,
    /// Their distinct blocks: the working set.
    pub distinct_blocks: u64,
    /// Those among them that no request had before.
    pub new_blocks: u64,
}

/// How requests arrive.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Arrivals {
    /// From the first request to the last, in milliseconds.
    pub duration_ms: u64,
    /// Requests per second over that time; 0 if it is none.
    pub requests_per_second: f64,
    /// Requests per second in the busiest window.
    pub peak_requests_per_second: f64,
    /// Milliseconds from one request to the next, zeros included.
    pub gap_ms: Summary,
}

/// Collects them.
#[derive(Debug)]
pub(super) struct ArrivalCounter {
    length_ms: u64,
    first: Option<u64>,
    last: u64,
    gaps: Tally,
    windows: Vec<Window>,
    /// By node: the last window that had it, from 1.
    seen: Vec<u32>,
}

impl ArrivalCounter {
    pub(super) fn new(length_ms: u64) -> Self {
        Self { length_ms, first: None, last: 0, gaps: Tally::default(), windows: Vec::new(), seen: Vec::new() }
    }

    /// A request no earlier than the one before.
    pub(super) fn request(&mut self, timestamp: u64, path: &[u32], step: Growth, prefixes: &PrefixTree) {
        match self.first {
            Some(_) => self.gaps.add((timestamp - self.last) as f64),
            None => self.first = Some(timestamp),
        }
        self.last = timestamp;
        let start_ms = timestamp - timestamp % self.length_ms;
        if self.windows.last().is_none_or(|window| window.start_ms != start_ms) {
            self.windows.push(Window { start_ms, ..Window::default() });
        }
        step.follow(&mut self.seen);
        let distinct = self.see(path, prefixes);
        let blocks: u64 = path.iter().map(|&node| prefixes.len_of(node) as u64).sum();
        let window = self.windows.last_mut().expect("one was pushed if there was none");
        window.requests += 1;
        window.blocks += blocks;
        window.distinct_blocks += distinct;
        window.new_blocks += blocks - step.known as u64;
    }

    /// How many blocks of the path this window had not had. Those that it had are the shallowest.
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
        let rate = |requests: u64, ms: u64| if ms == 0 { 0.0 } else { requests as f64 * 1e3 / ms as f64 };
        let arrivals = Arrivals {
            duration_ms,
            requests_per_second: rate(requests, duration_ms),
            peak_requests_per_second: rate(busiest, self.length_ms),
            gap_ms: self.gaps.summary(),
        };
        (arrivals, self.windows)
    }
}
