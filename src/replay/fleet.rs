//! The workers of a replay: which of them serves a request, and the events that come of it.

use fastrand::Rng;

use super::{Assign, Options, Request};
use crate::event::{Event, Worker};
use crate::hash::hash_pair;
use crate::mock::{self, Config, Copies, Engine};

/// Makes the random policy independent of the workload, which has the same seed.
const ASSIGNMENT: u64 = 0xA551;
/// Makes every answer different from all others, and from all prompts.
const ANSWER: u64 = 0x0D7;

/// The workers of a replay.
#[derive(Debug)]
pub(super) struct Fleet {
    members: Vec<Member>,
    assign: Assign,
    random: Rng,
    served: u64,
    block_size: u32,
    /// Blocks that each worker's cache has room for.
    capacity: u32,
}

#[derive(Debug)]
struct Member {
    engine: Engine,
    /// Requests served so far.
    load: u64,
}

impl Fleet {
    /// Creates idle workers with empty caches. The options must have been checked.
    pub(super) fn new(options: &Options) -> Self {
        // No replay fills more blocks than a `u32` counts.
        let capacity = u32::try_from(options.blocks_per_worker).unwrap_or(u32::MAX);
        let member = |id| {
            let config = Config {
                block_size: options.block_size,
                blocks: capacity,
                // One copy of each block, so that the events say exactly what is cached.
                copies: Copies::Merged,
                // Even and odd workers name the same content differently, as engines of two makes would.
                seed: id % 2,
                ..Config::default()
            };
            Member { engine: Engine::new(Worker::new(id, 0), config).expect("options are checked"), load: 0 }
        };
        Self {
            members: (0..options.workers.into()).map(member).collect(),
            assign: options.assign,
            random: Rng::with_seed(hash_pair(ASSIGNMENT, options.seed)),
            served: 0,
            block_size: options.block_size,
            capacity,
        }
    }

    /// Chooses the worker for the next request, given how deep each worker matches.
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

    /// Tokens that fit an empty cache.
    fn room(&self) -> u64 {
        u64::from(self.capacity) * u64::from(self.block_size)
    }

    /// Returns whether the request fits an empty cache, and is not cut. The key-value data of an answer's last token is
    /// never computed, so it needs no room.
    pub(super) fn fits(&self, request: &Request) -> bool {
        let computed = request.input_length.saturating_add(request.output_length.saturating_sub(1));
        computed <= self.room()
    }

    /// Lets `worker` serve the request, alone and to its end, and returns its events in order. Prompts and answers are
    /// cut to what fits an empty cache.
    pub(super) fn serve(&mut self, worker: Worker, request: &Request) -> Vec<Event> {
        let room = self.room();
        let input_tokens = request.input_length.min(room);
        let blocks = request.prompt.len().min(self.capacity as usize);
        let request = mock::Request {
            prompt: request.prompt[..blocks].into(),
            input_tokens,
            output_tokens: request.output_length.min(room - input_tokens + 1),
            text: hash_pair(ANSWER, self.served),
            ..mock::Request::default()
        };
        self.served += 1;

        let Member { engine, load } = &mut self.members[worker.id as usize];
        *load += 1;
        engine.submit(engine.clock_ns(), request).expect("an idle engine without rates takes what fits");
        let mut events = Vec::new();
        engine.run_until(u64::MAX, |step| events.extend(step.events));
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventData;

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
        assert_eq!(stored(fleet.serve(Worker::new(0, 0), &request(&[1, 2], 29, 2))), [2, 1]);
        assert_eq!(stored(fleet.serve(Worker::new(0, 0), &request(&[7, 8], 29, 1))), [2], "the last is not computed");
        assert_eq!(stored(fleet.serve(Worker::new(0, 0), &request(&[3, 4], 29, 0))), [2]);
        assert_eq!(stored(fleet.serve(Worker::new(0, 0), &request(&[5, 6], 29, 32))), [2, 1, 1, 1, 1]);
    }

    #[test]
    fn outputs_are_unique_and_events_are_numbered_per_worker() {
        let mut fleet = fleet(Assign::RoundRobin, 2);
        let (even, odd) = (Worker::new(0, 0), Worker::new(1, 0));
        let mut said = Vec::new();
        for worker in [even, odd, even] {
            said.extend(fleet.serve(worker, &request(&[1], 10, 11)));
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

    #[test]
    fn what_does_not_fit_a_worker_is_left_out() {
        let options = Options { workers: 1, block_size: 10, blocks_per_worker: 3, ..Options::default() };
        let mut fleet = Fleet::new(&options);
        for (input, output, fits) in
            [(30, 0, true), (31, 0, false), (20, 11, true), (20, 12, false), (20, u64::MAX, false)]
        {
            assert_eq!(fleet.fits(&request(&[1, 2], input, output)), fits, "{input} and {output} tokens");
        }
        let mut serve = |prompt: &[u64], input, output| -> Vec<usize> {
            let events = fleet.serve(Worker::new(0, 0), &request(prompt, input, output));
            events.iter().map(|event| event.data.len()).collect()
        };
        assert_eq!(serve(&[1, 2], 20, u64::MAX), [2, 1]);
        assert_eq!(serve(&[3, 4, 5, 6], 45, 90), [3, 3], "what was there, and as much as fits");
        assert_eq!(serve(&[7], 10, 21), [1, 1, 1, 1, 1, 1], "one goes for each that comes");
    }
}
