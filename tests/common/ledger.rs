//! What a shard should say of itself and answer, by the literal reference.

use std::collections::BTreeMap;

use kvleap::baseline::reference::Reference;
use kvleap::{Event, EventData, Rejection, ShardStatus, Worker, WorkerStatus};

/// The reference, and everything that it does not count itself.
pub(crate) struct Ledger {
    pub(crate) reference: Reference,
    workers: BTreeMap<Worker, Counts>,
    strangers: [u64; Rejection::ALL.len()],
    events: u64,
    blocks: u64,
}

/// The counts that a worker's status should have.
#[derive(Default)]
struct Counts {
    last: Option<u64>,
    gaps: u64,
    missing: u64,
    repeated: u64,
    unknown: u64,
    rejected: [u64; Rejection::ALL.len()],
}

impl Ledger {
    pub(crate) fn new(max_positions: u32, max_workers: u32) -> Self {
        Self {
            reference: Reference::new().max_positions(max_positions).max_workers(max_workers),
            workers: BTreeMap::new(),
            strangers: Default::default(),
            events: 0,
            blocks: 0,
        }
    }

    /// Events so far, which is the watermark that an answer has.
    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    pub(crate) fn apply(&mut self, event: &Event) -> Result<(), Rejection> {
        let worker = event.worker;
        // Counting is slow, and only removals need it.
        let is_removal = matches!(event.data, EventData::Removed { .. });
        let before = if is_removal { self.copies(worker) } else { 0 };
        let result = self.reference.apply(event);
        let gone = if is_removal { before - self.copies(worker) } else { 0 };
        self.events += 1;
        self.blocks += event.data.len() as u64;
        let admitted = !matches!(result, Err(Rejection::WorkerRemoved | Rejection::TooManyWorkers));
        match &event.data {
            EventData::WorkerRemoved => drop(self.workers.remove(&worker)),
            EventData::WorkerAdded | EventData::CopiesCounted if admitted => {
                self.workers.entry(worker).or_default();
            }
            data if admitted => {
                let counts = self.workers.entry(worker).or_default();
                match counts.last.replace(event.id) {
                    Some(last) if event.id <= last => counts.repeated += 1,
                    Some(last) if event.id > last + 1 => {
                        counts.gaps += 1;
                        counts.missing += event.id - last - 1;
                    }
                    _ => {}
                }
                if let EventData::Removed { blocks } = data {
                    counts.unknown += blocks.len() as u64 - gone;
                }
            }
            _ => {}
        }
        if let Err(rejection) = result {
            let rejected = self.workers.get_mut(&worker).map_or(&mut self.strangers, |counts| &mut counts.rejected);
            rejected[rejection as usize] += 1;
        }
        result
    }

    /// Applies an event of an export.
    pub(crate) fn import(&mut self, event: &Event) -> Result<(), Rejection> {
        if let Some(counts) = self.workers.get_mut(&event.worker) {
            counts.last = None;
        }
        self.reference.replace(event);
        self.apply(event)
    }

    /// Counts the blocks of a worker, every copy included.
    fn copies(&self, worker: Worker) -> u64 {
        self.reference.held(worker) as u64 + self.reference.extra_copies(worker).unwrap_or(0)
    }

    /// Compares this with what an export said: the same workers have the same blocks, copies and last events. An export
    /// does not say what was left out.
    pub(crate) fn compare_copy(&self, copy: &Self, queries: &[Vec<u64>]) {
        let state = |ledger: &Self| -> Vec<_> {
            let workers = ledger.workers.iter();
            let state = |(worker, counts): (&Worker, &Counts)| {
                (*worker, ledger.reference.held(*worker), ledger.reference.extra_copies(*worker), counts.last)
            };
            workers.map(state).collect()
        };
        assert_eq!(state(self), state(copy));
        for query in queries {
            assert_eq!(self.reference.find(query), copy.reference.find(query), "{query:?}");
        }
    }

    /// Compares all that a shard says of itself.
    pub(crate) fn compare(&self, shard: &ShardStatus, workers: &[WorkerStatus]) {
        let mut workers: Vec<_> = workers.iter().collect();
        workers.sort_by_key(|status| status.worker);
        assert!(workers.iter().map(|status| &status.worker).eq(self.workers.keys()), "all workers, and no others");
        let mut held = 0;
        for (status, (worker, counts)) in workers.iter().zip(&self.workers) {
            assert_eq!(status.held_blocks, self.reference.held(*worker) as u64, "held by {worker}");
            assert_eq!(status.extra_copies, self.reference.extra_copies(*worker), "copies of {worker}");
            assert_eq!(status.left_out_blocks, self.reference.left_out(*worker), "left out of {worker}");
            assert_eq!((status.last_event_id, status.gaps), (counts.last, counts.gaps), "events of {worker}");
            assert_eq!(
                (status.missing_events, status.repeated_events, status.unknown_removals, status.rejected),
                (counts.missing, counts.repeated, counts.unknown, counts.rejected),
                "counts of {worker}"
            );
            held += status.held_blocks;
        }
        assert_eq!((shard.applied_events, shard.applied_blocks), (self.events, self.blocks));
        assert_eq!((shard.held_blocks, shard.rejected_strangers), (held, self.strangers));
        assert!(shard.runs <= shard.indexed_blocks);
        assert!(shard.distinct_blocks <= self.reference.distinct().min(shard.indexed_blocks));
        assert!(held > 0 || shard.indexed_blocks == 0, "blocks that no worker holds are freed");
    }
}
