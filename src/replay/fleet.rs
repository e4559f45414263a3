//! The workers: who serves a request, and what they say about it.

use std::num::NonZeroUsize;

use fastrand::Rng;

use super::{Assign, Cache, Options, Request};
use crate::hash::hash_pair;
use crate::{Event, Worker};

/// Sets the random assignment apart from the workload, which draws from the same seed.
const ASSIGNMENT: u64 = 0xA551;
/// Sets the hashes of output blocks apart from all others.
const OUTPUT: u64 = 0x0D7;

/// The workers of a replay.
#[derive(Debug)]
pub(super) struct Fleet {
    members: Vec<Member>,
    assign: Assign,
    random: Rng,
    served: u64,
    block_size: u32,
    capacity: NonZeroUsize,
}

#[derive(Debug)]
struct Member {
    cache: Cache,
    /// Requests served.
    load: u64,
    last_event: u64,
}

impl Fleet {
    pub(super) fn new(options: &Options) -> Self {
        let capacity = NonZeroUsize::new(options.blocks_per_worker).unwrap_or(NonZeroUsize::MIN);
        // Even and odd workers name the same content differently, as engines of two makes would.
        let member = |id| Member { cache: Cache::new(capacity, u64::from(id % 2)), load: 0, last_event: 0 };
        Self {
            members: (0..options.workers).map(member).collect(),
            assign: options.assign,
            random: Rng::with_seed(hash_pair(ASSIGNMENT, options.seed)),
            served: 0,
            block_size: options.block_size,
            capacity,
        }
    }

    /// The worker that serves the next request, given every worker's depth.
    pub(super) fn choose(&mut self, answer: &[(Worker, u32)]) -> Worker {
        let workers = self.members.len() as u64;
        let id = match self.assign {
            Assign::Random => self.random.u64(..workers),
            Assign::RoundRobin => self.served % workers,
            Assign::Best => {
                let deepest = answer.iter().map(|&(_, depth)| depth).max();
                let holders = answer.iter().filter(|&&(_, depth)| Some(depth) == deepest).map(|(worker, _)| worker.id);
                let by_load = |&id: &u64| (self.members[id as usize].load, id);
                holders.min_by_key(by_load).or_else(|| (0..workers).min_by_key(by_load)).unwrap_or(0)
            }
        };
        Worker::new(id, 0)
    }

    /// Lets `worker` serve the request and returns what it says, in order.
    pub(super) fn serve(&mut self, worker: Worker, request: &Request) -> Vec<Event> {
        let blocks = (request.input_length + request.output_length) / u64::from(self.block_size);
        // What cannot be cached need not be made up, however long a malformed trace says the output is.
        let decoded = blocks.saturating_sub(request.prompt.len() as u64).min(self.capacity.get() as u64);
        let text = hash_pair(OUTPUT, self.served);
        let output: Vec<u64> = (0..decoded).map(|block| hash_pair(text, block)).collect();
        self.served += 1;

        let member = &mut self.members[worker.id as usize];
        member.load += 1;
        let said = member.cache.serve(&request.prompt, &output).into_iter();
        said.map(|data| {
            member.last_event += 1;
            Event { worker, id: member.last_event, data }
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EventData;

    fn fleet(assign: Assign, workers: u32) -> Fleet {
        Fleet::new(&Options { assign, workers, block_size: 10, ..Options::default() })
    }

    fn request(prompt: &[u64], input_length: u64, output_length: u64) -> Request {
        Request { prompt: prompt.to_vec(), input_length, output_length }
    }

    /// Serves `times` requests where `choose` says, the same answer each time.
    fn ids(fleet: &mut Fleet, answer: &[(Worker, u32)], times: usize) -> Vec<u64> {
        let mut next = || {
            let worker = fleet.choose(answer);
            fleet.serve(worker, &request(&[1], 10, 0));
            worker.id
        };
        (0..times).map(|_| next()).collect()
    }

    #[test]
    fn best_is_the_deepest_then_the_least_loaded_then_the_lowest() {
        let at = |id, depth| (Worker::new(id, 0), depth);
        let mut fleet = fleet(Assign::Best, 4);
        assert_eq!(ids(&mut fleet, &[], 2), [0, 1], "nobody holds anything");
        assert_eq!(ids(&mut fleet, &[at(2, 5), at(1, 7), at(3, 7)], 3), [3, 1, 3]);
        assert_eq!(ids(&mut fleet, &[at(0, 1)], 2), [0, 0]);
    }

    #[test]
    fn round_robin_takes_turns_and_random_depends_on_the_seed() {
        assert_eq!(ids(&mut fleet(Assign::RoundRobin, 3), &[], 4), [0, 1, 2, 0]);
        let random = |seed| {
            let options = Options { seed, ..Options::default() };
            ids(&mut Fleet::new(&options), &[], 20)
        };
        assert_eq!(random(1), random(1));
        assert_ne!(random(1), random(2));
    }

    #[test]
    fn the_block_that_straddles_prompt_and_output_is_an_output_block() {
        let mut fleet = fleet(Assign::RoundRobin, 1);
        let stored = |events: Vec<Event>| -> Vec<usize> { events.iter().map(|event| event.data.len()).collect() };
        assert_eq!(stored(fleet.serve(Worker::new(0, 0), &request(&[1, 2], 29, 1))), [2, 1]);
        assert_eq!(stored(fleet.serve(Worker::new(0, 0), &request(&[3, 4], 29, 0))), [2]);
        assert_eq!(stored(fleet.serve(Worker::new(0, 0), &request(&[5, 6], 29, 31))), [2, 1, 1, 1, 1]);
    }

    #[test]
    fn outputs_are_unique_and_events_are_numbered_per_worker() {
        let mut fleet = fleet(Assign::RoundRobin, 2);
        let (even, odd) = (Worker::new(0, 0), Worker::new(1, 0));
        let mut said = Vec::new();
        for worker in [even, odd, even] {
            said.extend(fleet.serve(worker, &request(&[1], 10, 10)));
        }
        let ids: Vec<(u64, u64)> = said.iter().map(|event| (event.worker.id, event.id)).collect();
        assert_eq!(ids, [(0, 1), (0, 2), (1, 1), (1, 2), (0, 3)]);
        let local = |event: &Event| match &event.data {
            EventData::Stored { blocks, .. } => blocks[0].local,
            other => panic!("{other:?}"),
        };
        assert_ne!(local(&said[1]), local(&said[3]));
        assert_ne!(local(&said[1]), local(&said[4]));
    }
}
