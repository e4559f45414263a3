//! Requests in flight, and the load that they put on their workers until they finish or expire.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use hashbrown::HashMap;

use super::fleet::Fleet;
use super::predict::Predicted;
use crate::index::BuildMix;

/// A request that was sent to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// Deadlines of finished requests are dropped once they outnumber the requests in flight by this many.
const SLACK: usize = 64;

/// The requests in flight.
#[derive(Debug)]
pub(super) struct InFlight {
    requests: HashMap<u64, Flight, BuildMix>,
    /// For each request a time at which it may expire, and its number. It is checked then: there may have been calls
    /// about the request since.
    deadlines: BinaryHeap<Reverse<(u64, u64)>>,
    next: u64,
    timeout_ns: u64,
    block_size: u64,
    expired: u64,
}

/// A request in flight.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) seat: usize,
    /// Prompt tokens that must be computed before the first token.
    prefill_tokens: u64,
    /// Tokens of the prompt and of the answer so far.
    tokens: u64,
    blocks: u64,
    heard_ns: u64,
    /// What it predicted; `None` after the first token.
    pub(super) predicted: Option<Predicted>,
}

impl InFlight {
    pub(super) fn new(timeout_ns: u64, block_size: u32) -> Self {
        Self {
            requests: HashMap::default(),
            deadlines: BinaryHeap::new(),
            next: 0,
            timeout_ns,
            block_size: block_size.into(),
            expired: 0,
        }
    }

    /// Adds a request with a prompt of `tokens`, of which the worker must compute `prefill_tokens`.
    pub(super) fn add(
        &mut self,
        fleet: &mut Fleet,
        seat: usize,
        (tokens, prefill_tokens): (u64, u64),
        predicted: Option<Predicted>,
        now_ns: u64,
    ) -> Ticket {
        let blocks = tokens.div_ceil(self.block_size);
        let mut load = fleet.loads()[seat];
        load.requests += 1;
        load.prefill_tokens += prefill_tokens;
        load.decode_blocks += blocks;
        fleet.set_load(seat, load);
        let ticket = self.next;
        self.next += 1;
        let flight = Flight { seat, prefill_tokens, tokens, blocks, heard_ns: now_ns, predicted };
        self.requests.insert(ticket, flight);
        if self.deadlines.len() >= 2 * self.requests.len() + SLACK {
            // More than half belong to finished requests.
            self.deadlines.retain(|Reverse((_, ticket))| self.requests.contains_key(ticket));
        }
        self.deadlines.push(Reverse((now_ns.saturating_add(self.timeout_ns), ticket)));
        Ticket(ticket)
    }

    /// Records that the prompt is computed. Returns the request if it is in flight.
    pub(super) fn first_token(&mut self, fleet: &mut Fleet, ticket: Ticket, now_ns: u64) -> Option<&mut Flight> {
        let flight = self.requests.get_mut(&ticket.0)?;
        flight.heard_ns = now_ns;
        let mut load = fleet.loads()[flight.seat];
        load.prefill_tokens -= std::mem::take(&mut flight.prefill_tokens);
        fleet.set_load(flight.seat, load);
        Some(flight)
    }

    /// Records that the answer has grown by this many tokens.
    pub(super) fn tokens(&mut self, fleet: &mut Fleet, ticket: Ticket, tokens: u64, now_ns: u64) -> bool {
        let Some(flight) = self.requests.get_mut(&ticket.0) else { return false };
        flight.heard_ns = now_ns;
        flight.tokens = flight.tokens.saturating_add(tokens);
        let blocks = flight.tokens.div_ceil(self.block_size);
        if blocks > flight.blocks {
            let mut load = fleet.loads()[flight.seat];
            load.decode_blocks += blocks - flight.blocks;
            flight.blocks = blocks;
            fleet.set_load(flight.seat, load);
        }
        true
    }

    pub(super) fn finish(&mut self, fleet: &mut Fleet, ticket: Ticket) -> bool {
        let Some(flight) = self.requests.remove(&ticket.0) else { return false };
        let mut load = fleet.loads()[flight.seat];
        load.requests -= 1;
        load.prefill_tokens -= flight.prefill_tokens;
        load.decode_blocks -= flight.blocks;
        fleet.set_load(flight.seat, load);
        true
    }

    /// Ends the requests about which there was no call for the timeout.
    pub(super) fn expire(&mut self, fleet: &mut Fleet, now_ns: u64) {
        while let Some(&Reverse((deadline, ticket))) = self.deadlines.peek()
            && deadline <= now_ns
        {
            self.deadlines.pop();
            let Some(flight) = self.requests.get(&ticket) else { continue };
            let heard = flight.heard_ns.saturating_add(self.timeout_ns);
            if heard > now_ns {
                self.deadlines.push(Reverse((heard, ticket)));
            } else {
                self.finish(fleet, Ticket(ticket));
                self.expired += 1;
            }
        }
    }

    /// Forgets the requests of a worker that left.
    pub(super) fn leave(&mut self, seat: usize) {
        self.requests.retain(|_, flight| flight.seat != seat);
    }

    /// Requests in flight.
    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }

    /// Requests that have expired.
    pub(super) fn expired(&self) -> u64 {
        self.expired
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Worker;

    #[test]
    fn nothing_is_kept_of_requests_that_are_over() {
        let mut fleet = Fleet::new(16, u32::MAX);
        let seat = fleet.add(Worker::new(0, 0)).expect("it is new");
        let mut in_flight = InFlight::new(u64::MAX, 16);
        let lasting = in_flight.add(&mut fleet, seat, (1, 1), None, 0);
        for _ in 0..10_000 {
            let ticket = in_flight.add(&mut fleet, seat, (1, 1), None, 0);
            assert!(in_flight.finish(&mut fleet, ticket));
            assert!(in_flight.deadlines.len() <= 2 * 2 + SLACK + 1);
        }
        assert!(
            in_flight.deadlines.iter().any(|Reverse((_, ticket))| *ticket == lasting.0),
            "it can still be given up"
        );
    }
}
