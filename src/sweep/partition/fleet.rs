//! The workers of a schedule, each of which serves its part of the requests.

use std::path::PathBuf;

use fastrand::Rng;

use super::PartitionError;
use super::arrivals::{self, Arrival};
use crate::Worker;
use crate::hash::hash_pair;
use crate::mock::{Config, Engine, Profile, Step};
use crate::replay;
use crate::sweep::{Op, Schedule, What};

/// Sets the assignment apart from the workload, which draws from the same seed.
const ASSIGNMENT: u64 = 0xA551;

/// Requests, and the fleet that they are spread over, at random and evenly.
///
/// Each worker is a simulated [`Engine`] that serves its part on the virtual clock. Ids are 0, 1, ..., all of rank 0.
/// Even and odd ones name the same content differently, as engines of two makes would.
#[derive(Clone, Debug)]
pub struct Partition {
    /// The trace, `.jsonl` or `.jsonl.gz`, in the order of its times; `None` plays the built-in
    /// [`Workload`](replay::Workload). Default `None`.
    pub trace: Option<PathBuf>,
    /// Tokens that one hash id of the trace stands for; a multiple of the engine's block size. Default 512. The
    /// built-in workload has no use for it.
    pub trace_block_size: u32,
    /// Requests to take, the first ones of the trace. Default `None`: all of it, or 2,000 of the built-in workload.
    pub requests: Option<u64>,
    /// Requests per second of the built-in workload, in the whole fleet: the gaps between them are even between 0 and
    /// twice the mean. Default 50. A trace has its own times.
    pub requests_per_second: u32,
    /// Every block becomes as many blocks. The rest of a prompt and the answer stay as they are. Default 1.
    pub length_factor: u32,
    /// Every request comes as often at its time, each time with blocks of its own, so that the copies share nothing.
    /// Default 1.
    pub duplication_factor: u32,
    /// Workers of the fleet; at most [`replay::Options::MAX_WORKERS`]. Default 16.
    pub workers: u32,
    /// What each of them is like, block size and blocks included. Its seed counts for the even ones. Default 2,048
    /// blocks of 16 tokens, as fast as a `llama-3.1-8b@h100-80g`.
    pub engine: Config,
    /// Every so many nanoseconds one worker's cache is emptied, as by a reset: of worker 0 first, then of 1, and so on
    /// in turn, as long as it has requests to come. Default `None`: never.
    pub reset_every_ns: Option<u64>,
    /// Seeds the workload and the assignment. Equal seeds, equal schedules. Default 0.
    pub seed: u64,
}

impl Default for Partition {
    fn default() -> Self {
        let profile: Profile = "llama-3.1-8b@h100-80g".parse().expect("a known profile");
        let fast = profile.config().expect("there is room for blocks");
        Self {
            trace: None,
            trace_block_size: 512,
            requests: None,
            requests_per_second: 50,
            length_factor: 1,
            duplication_factor: 1,
            workers: 16,
            engine: Config { block_size: 16, blocks: 2048, ..fast },
            reset_every_ns: None,
            seed: 0,
        }
    }
}

impl Partition {
    /// Plays the requests and writes down when each arrives and what the workers say. `progress` is told the requests
    /// served and the requests in all, now and then.
    ///
    /// All requests, and what comes of them, are held in memory.
    ///
    /// # Errors
    /// [`PartitionError`]; all but a refusal by an engine that has rates or a short queue is found before anything runs.
    pub fn schedule(&self, mut progress: impl FnMut(u64, u64)) -> Result<Schedule, PartitionError> {
        self.check()?;
        let arrivals = arrivals::read(self)?;
        let total = arrivals.len() as u64;

        let mut random = Rng::with_seed(hash_pair(ASSIGNMENT, self.seed));
        let mut parts = vec![Vec::new(); self.workers as usize];
        for number in 0..arrivals.len() {
            parts[random.usize(..self.workers as usize)].push(number);
        }

        let lookup = |arrival: &Arrival| Op { at_ns: arrival.at_ns, what: What::Lookup(arrival.prompt.clone()) };
        let mut ops: Vec<Op> = arrivals.iter().map(lookup).collect();
        let mut length_ns = arrivals.last().map_or(0, |last| last.at_ns);
        let mut served = 0;
        for (part, id) in parts.iter().zip(0..) {
            let mut engine = self.engine(id)?;
            let mut resets = self.resets(id).peekable();
            for &number in part {
                let arrival = &arrivals[number];
                while let Some(at_ns) = resets.next_if(|&at_ns| at_ns < arrival.at_ns) {
                    engine.run_until(at_ns, |step| say(step, &mut ops));
                    ops.push(Op { at_ns: at_ns.max(engine.clock_ns()), what: What::Event(engine.clear()) });
                }
                engine.run_until(arrival.at_ns, |step| say(step, &mut ops));
                let submitted = engine.submit(arrival.at_ns, arrival.request());
                submitted.map_err(|source| PartitionError::Refused { request: number as u64 + 1, source })?;
                served += 1;
                progress(served, total);
            }
            engine.run_until(u64::MAX, |step| say(step, &mut ops));
            length_ns = length_ns.max(engine.clock_ns());
        }
        // Stable: what one worker says stays in its order, and lookups come before what is said at the same time.
        ops.sort_by_key(|op| op.at_ns);
        Ok(Schedule {
            block_size: self.engine.block_size,
            workers: self.workers,
            blocks_per_worker: self.engine.blocks.into(),
            length_ns,
            ops,
        })
    }

    /// When the worker's cache is emptied.
    fn resets(&self, id: u64) -> impl Iterator<Item = u64> {
        let turns = (id + 1..).step_by(self.workers as usize);
        let every = self.reset_every_ns.into_iter().flat_map(move |every| turns.clone().map(move |turn| (every, turn)));
        every.map_while(|(every, turn)| every.checked_mul(turn))
    }

    fn engine(&self, id: u64) -> Result<Engine, PartitionError> {
        let config = Config { seed: self.engine.seed.wrapping_add(id % 2), ..self.engine.clone() };
        Engine::new(Worker::new(id, 0), config).map_err(PartitionError::Engine)
    }

    /// Whether the options make sense together.
    fn check(&self) -> Result<(), PartitionError> {
        let counts = [
            ("workers", self.workers == 0),
            ("trace-block-size", self.trace_block_size == 0),
            ("requests", self.requests == Some(0)),
            ("requests-per-second", self.requests_per_second == 0),
            ("length-factor", self.length_factor == 0),
            ("duplication-factor", self.duplication_factor == 0),
            ("reset-every", self.reset_every_ns == Some(0)),
        ];
        if let Some(&(option, _)) = counts.iter().find(|(_, zero)| *zero) {
            return Err(PartitionError::Zero { option });
        }
        if self.workers > replay::Options::MAX_WORKERS {
            return Err(PartitionError::TooManyWorkers { workers: self.workers });
        }
        self.engine(0).map(drop)
    }
}

fn say(step: Step, ops: &mut Vec<Op>) {
    let at_ns = step.at_ns;
    ops.extend(step.events.into_iter().map(|event| Op { at_ns, what: What::Event(event) }));
}
