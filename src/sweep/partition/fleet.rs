//! The fleet behind a schedule, each worker of which serves its part of the requests.

use std::path::PathBuf;

use fastrand::Rng;

use super::PartitionError;
use super::arrivals::{self, Arrival};
use crate::event::Worker;
use crate::hash::hash_pair;
use crate::mock::{Config, Engine, Profile, Step};
use crate::replay;
use crate::sweep::{Op, Schedule, What};

/// Makes the assignment independent of the workload, which has the same seed.
const ASSIGNMENT: u64 = 0xA551;

/// Requests, and the fleet over which they are spread, evenly and at random.
///
/// Each worker is a simulated [`Engine`] that serves its part of the requests on the virtual clock. The workers' ids are
/// 0, 1, ..., and their `dp_rank` is 0. Workers with even and with odd ids have different sequence hashes for the same
/// content, as engines of two makes would.
#[derive(Clone, Debug)]
pub struct Partition {
    /// The trace, as [`trace::open`](crate::trace::open) takes it, in the order of its timestamps; `None` plays the
    /// built-in [`Workload`](replay::Workload). Default `None`.
    pub trace: Option<PathBuf>,
    /// Tokens that one hash id of the trace stands for; a multiple of the engine's block size. The built-in workload has
    /// no use for it. Default 512.
    pub trace_block_size: u32,
    /// Requests to play, the first ones of the trace. Default `None`: the whole trace, or 2,000 requests of the built-in
    /// workload.
    pub requests: Option<u64>,
    /// Requests per second of the built-in workload, in the whole fleet; the gaps between them are evenly distributed
    /// between 0 and twice the mean. A trace has its own times. Default 50.
    pub requests_per_second: u32,
    /// Every full block of a prompt becomes this many blocks; the rest of the prompt and the answer stay as they are.
    /// Default 1.
    pub length_factor: u32,
    /// Every request comes this many times at its time, each time with different blocks, so that copies share nothing.
    /// Default 1.
    pub duplication_factor: u32,
    /// Workers in the fleet, at most [`replay::Options::MAX_WORKERS`]. Default 16.
    pub workers: u32,
    /// The configuration of each worker, with block size and blocks. Its seed is that of the workers with even ids.
    /// Default 2,048 blocks of 16 tokens, as fast as a `llama-3.1-8b@h100-80g`.
    pub engine: Config,
    /// The nanoseconds after which the cache of one more worker is emptied, as by a reset: first of worker 0, then of 1,
    /// and so on in turn, for as long as that worker still has requests to serve. Default `None`: never.
    pub reset_every_ns: Option<u64>,
    /// Seed of the workload and the assignment; equal seeds give equal schedules. Default 0.
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
    /// Serves the requests, and writes down when each arrives and which events the workers send. Calls `progress` now and
    /// then, with the number of requests served and the number of all requests.
    ///
    /// All requests, and the whole schedule, are held in memory.
    ///
    /// # Errors
    /// [`PartitionError`]. All are found before anything runs, except that an engine with rates or a short queue refuses a
    /// request.
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
                    engine.run_until(at_ns, |step| write_down(step, &mut ops));
                    ops.push(Op { at_ns: at_ns.max(engine.clock_ns()), what: What::Event(engine.clear()) });
                }
                engine.run_until(arrival.at_ns, |step| write_down(step, &mut ops));
                let submitted = engine.submit(arrival.at_ns, arrival.request());
                submitted.map_err(|source| PartitionError::Refused { request: number as u64 + 1, source })?;
                served += 1;
                progress(served, total);
            }
            engine.run_until(u64::MAX, |step| write_down(step, &mut ops));
            length_ns = length_ns.max(engine.clock_ns());
        }
        // A stable sort: events of one worker stay in order, and lookups come before events of the same time.
        ops.sort_by_key(|op| op.at_ns);
        Ok(Schedule {
            block_size: self.engine.block_size,
            workers: self.workers,
            blocks_per_worker: self.engine.blocks.into(),
            length_ns,
            ops,
        })
    }

    /// Returns the times at which a worker's cache is emptied.
    fn resets(&self, id: u64) -> impl Iterator<Item = u64> {
        let turns = (id + 1..).step_by(self.workers as usize);
        let every = self.reset_every_ns.into_iter().flat_map(move |every| turns.clone().map(move |turn| (every, turn)));
        every.map_while(|(every, turn)| every.checked_mul(turn))
    }

    fn engine(&self, id: u64) -> Result<Engine, PartitionError> {
        let config = Config { seed: self.engine.seed.wrapping_add(id % 2), ..self.engine.clone() };
        Engine::new(Worker::new(id, 0), config).map_err(PartitionError::Engine)
    }

    /// Checks that the options are in range and fit together.
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

fn write_down(step: Step, ops: &mut Vec<Op>) {
    let at_ns = step.at_ns;
    ops.extend(step.events.into_iter().map(|event| Op { at_ns, what: What::Event(event) }));
}
