//! The workers that a router chooses from, each in a seat of its own, and what is in flight at them.

use hashbrown::HashMap;

use super::mask::Mask;
use crate::event::Worker;
use crate::index::BuildMix;

/// What is in flight at a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Requests, until they finish.
    pub requests: u32,
    /// Tokens of prompts that wait to be computed or are being computed: those that were not cached, until the
    /// request's first token.
    pub prefill_tokens: u64,
    /// Blocks that the sequences occupy: those of the prompt from the decision on, and what decoding adds.
    pub decode_blocks: u64,
}

/// The workers by seat: a dense number, given again after its worker left. Figures are arrays over the seats, so that a
/// decision is a few passes over them.
#[derive(Debug)]
pub(super) struct Fleet {
    /// By seat; of a vacant one, whoever was there.
    workers: Vec<Worker>,
    seats: HashMap<Worker, u32, BuildMix>,
    vacant: Vec<u32>,
    loads: Vec<Load>,
    /// The requests again, as costs are computed with.
    requests: Vec<f32>,
    /// The prefill tokens again, in blocks.
    queue_blocks: Vec<f32>,
    /// The decode blocks again.
    decode_blocks: Vec<f32>,
    available: Mask,
    /// Workers with as many requests as they may have.
    full: Mask,
    max_requests: u32,
    blocks_per_token: f32,
    /// One higher with every worker that comes or goes.
    version: u64,
}

impl Fleet {
    pub(super) fn new(block_size: u32, max_requests: u32) -> Self {
        Self {
            workers: Vec::new(),
            seats: HashMap::default(),
            vacant: Vec::new(),
            loads: Vec::new(),
            requests: Vec::new(),
            queue_blocks: Vec::new(),
            decode_blocks: Vec::new(),
            available: Mask::default(),
            full: Mask::default(),
            max_requests,
            blocks_per_token: 1.0 / block_size as f32,
            version: 0,
        }
    }

    /// Gives the worker a seat; `None` if it has one.
    pub(super) fn add(&mut self, worker: Worker) -> Option<usize> {
        if self.seats.contains_key(&worker) {
            return None;
        }
        let seat = self.vacant.pop().map_or(self.workers.len(), |seat| seat as usize);
        if seat == self.workers.len() {
            self.workers.push(worker);
            self.loads.push(Load::default());
            self.requests.push(0.0);
            self.queue_blocks.push(0.0);
            self.decode_blocks.push(0.0);
        }
        self.workers[seat] = worker;
        self.seats.insert(worker, seat as u32);
        self.available.set(seat, true);
        self.set_load(seat, Load::default());
        self.version += 1;
        Some(seat)
    }

    /// Takes the worker's seat away, and returns which it was.
    pub(super) fn remove(&mut self, worker: Worker) -> Option<usize> {
        let seat = self.seats.remove(&worker)? as usize;
        self.vacant.push(seat as u32);
        self.available.set(seat, false);
        self.set_load(seat, Load::default());
        self.version += 1;
        Some(seat)
    }

    pub(super) fn set_available(&mut self, seat: usize, available: bool) {
        self.available.set(seat, available);
    }

    pub(super) fn set_load(&mut self, seat: usize, load: Load) {
        self.loads[seat] = load;
        self.requests[seat] = load.requests as f32;
        self.queue_blocks[seat] = load.prefill_tokens as f32 * self.blocks_per_token;
        self.decode_blocks[seat] = load.decode_blocks as f32;
        self.full.set(seat, load.requests >= self.max_requests);
    }

    pub(super) fn seat(&self, worker: Worker) -> Option<usize> {
        self.seats.get(&worker).map(|&seat| seat as usize)
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// How many seats there are, vacant ones among them.
    pub(super) fn seats(&self) -> usize {
        self.workers.len()
    }

    /// How many workers there are.
    pub(super) fn len(&self) -> usize {
        self.seats.len()
    }

    pub(super) fn workers(&self) -> &[Worker] {
        &self.workers
    }

    pub(super) fn loads(&self) -> &[Load] {
        &self.loads
    }

    pub(super) fn requests(&self) -> &[f32] {
        &self.requests
    }

    pub(super) fn queue_blocks(&self) -> &[f32] {
        &self.queue_blocks
    }

    pub(super) fn decode_blocks(&self) -> &[f32] {
        &self.decode_blocks
    }

    /// Every worker that has a seat, with its seat.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, Worker)> {
        self.seats.iter().map(|(&worker, &seat)| (seat as usize, worker))
    }

    /// Who may be chosen: available, not full, and among those asked for.
    pub(super) fn candidates(&self, among: Option<&Mask>, into: &mut Mask) {
        into.assign(&self.available, &self.full, among);
    }

    pub(super) fn any_available(&self) -> bool {
        !self.available.is_empty()
    }
}
