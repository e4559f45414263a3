//! The workers that a router chooses from, each in a seat of its own, and the load of each.

use hashbrown::HashMap;

use super::mask::Mask;
use crate::event::Worker;
use crate::index::BuildMix;

/// What is in flight at a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Requests that have not finished.
    pub requests: u32,
    /// Prompt tokens that are waiting or being computed: those that were not cached, until the request's first token.
    pub prefill_tokens: u64,
    /// Blocks that the sequences occupy: those of the prompt from the decision on, and those that decoding adds.
    pub decode_blocks: u64,
}

/// The workers by seat: a dense number that is reused after its worker has left. All properties are arrays over the
/// seats, so that a decision is a few passes over them.
#[derive(Debug)]
pub(super) struct Fleet {
    /// By seat; a vacant seat keeps the worker that left.
    workers: Vec<Worker>,
    seats: HashMap<Worker, u32, BuildMix>,
    vacant: Vec<u32>,
    loads: Vec<Load>,
    /// The requests of `loads`, in the form in which costs are computed.
    requests: Vec<f32>,
    /// The prefill tokens of `loads`, in blocks.
    queue_blocks: Vec<f32>,
    /// The decode blocks of `loads`.
    decode_blocks: Vec<f32>,
    available: Mask,
    /// Workers that have reached `max_requests`.
    full: Mask,
    max_requests: u32,
    blocks_per_token: f32,
    /// Counts the workers that have come or gone.
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

    /// Gives the worker a seat. Returns `None` if it has one already.
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
        self.version += 1;
        Some(seat)
    }

    /// Vacates the worker's seat and returns it. The next worker in it starts without load.
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

    /// Number of seats, including vacant ones.
    pub(super) fn seats(&self) -> usize {
        self.workers.len()
    }

    /// Number of workers.
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

    /// Returns every worker with its seat.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, Worker)> {
        self.seats.iter().map(|(&worker, &seat)| (seat as usize, worker))
    }

    /// Collects the workers that may be chosen: available, not full, and in `among` if that is given.
    pub(super) fn candidates(&self, among: Option<&Mask>, into: &mut Mask) {
        into.assign(&self.available, &self.full, among);
    }

    pub(super) fn any_available(&self) -> bool {
        !self.available.is_empty()
    }
}
