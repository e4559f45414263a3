//! kv-index: `ChainIndex`, the run-compressed index of the SMG gateway.
//!
//! Cost model: synchronous. An event is applied on the caller's thread, under a lock per run, and is visible on return.
//! For each worker, the caller keeps a map from sequence hash to place, which counts as the index's memory because no
//! event can be applied without it. Lookups run on the caller's thread under seqlocks, pass the depths to a callback
//! and allocate nothing. Answers are exact as long as an engine has one sequence hash per position.
//!
//! An index takes at most 1,024 workers. For larger fleets, this file uses the crate's own `ShardedChainIndex`, with
//! the smallest number of shards that holds the fleet. A lookup walks every shard.

use std::sync::Arc;

use kv_index::{ChainBlockMap, ChainIndex, ContentHash, SHARD_SHIFT, SequenceHash, ShardedChainIndex, StoredBlock};
use kvleap::{Event, EventData};

use super::{Fleet, Open, Reader, System, Writer};

const MAX_WORKERS: u32 = 1_024;

pub struct KvIndex;

#[allow(clippy::large_enum_variant)] // A process has only one, and a box would cost the peer an indirection per call.
enum Core {
    One(ChainIndex),
    Sharded(ShardedChainIndex),
}

impl System for KvIndex {
    type Writer = Lane;
    type Reader = Lookup;

    fn open(fleet: Fleet) -> Open<Lane, Lookup> {
        let shards = fleet.workers.div_ceil(MAX_WORKERS);
        let core = if shards == 1 {
            Core::One(ChainIndex::with_max_workers(fleet.workers as usize))
        } else {
            Core::Sharded(ShardedChainIndex::new(shards as usize, MAX_WORKERS as usize))
        };
        let mut numbers = vec![Vec::new(); shards as usize];
        let workers = (0..fleet.workers)
            .map(|number| {
                let shard = (number % shards) as usize;
                let name = number.to_string();
                let id = match &core {
                    Core::One(index) => index.intern_worker(&name),
                    Core::Sharded(index) => index.intern_worker_in(shard, &name),
                };
                numbers[shard].push(number);
                (id.expect("a slot for every worker"), ChainBlockMap::new())
            })
            .collect();
        let core = Arc::new(core);
        let writer = Lane { core: core.clone(), workers };
        Open { encode: Box::new(encode), writer, reader: Lookup { core, numbers } }
    }
}

pub struct Lane {
    core: Arc<Core>,
    /// Every worker's id and blocks.
    workers: Vec<(u32, ChainBlockMap)>,
}

pub enum Change {
    Stored { worker: u32, parent: Option<SequenceHash>, blocks: Vec<StoredBlock> },
    Removed { worker: u32, blocks: Vec<SequenceHash> },
    Cleared { worker: u32 },
}

impl Writer for Lane {
    type Event = Change;

    fn apply(&mut self, change: Change) {
        match change {
            Change::Stored { worker, parent, blocks } => {
                let (id, map) = &mut self.workers[worker as usize];
                match &*self.core {
                    Core::One(index) => index.apply_stored(*id, &blocks, parent, map),
                    Core::Sharded(index) => index.apply_stored(*id, &blocks, parent, map),
                }
                .expect("the parent is held");
            }
            Change::Removed { worker, blocks } => {
                let (id, map) = &mut self.workers[worker as usize];
                match &*self.core {
                    Core::One(index) => index.apply_removed(*id, &blocks, map),
                    Core::Sharded(index) => index.apply_removed(*id, &blocks, map),
                }
            }
            Change::Cleared { worker } => {
                let (id, map) = &mut self.workers[worker as usize];
                match &*self.core {
                    Core::One(index) => index.apply_cleared(*id, map),
                    Core::Sharded(index) => index.apply_cleared(*id, map),
                }
            }
        }
    }

    fn flush(&mut self) {}
}

fn encode(event: Event) -> Change {
    let worker = event.worker.id as u32;
    match event.data {
        EventData::Stored { parent, blocks } => Change::Stored {
            worker,
            parent: parent.map(SequenceHash),
            blocks: blocks
                .iter()
                .map(|block| StoredBlock {
                    seq_hash: SequenceHash(block.sequence),
                    content_hash: ContentHash(block.local),
                })
                .collect(),
        },
        EventData::Removed { blocks } => {
            Change::Removed { worker, blocks: blocks.into_iter().map(SequenceHash).collect() }
        }
        EventData::Cleared | EventData::WorkerRemoved | EventData::WorkerAdded => Change::Cleared { worker },
        EventData::CopiesCounted => unreachable!("no workload counts copies"),
    }
}

pub struct Lookup {
    core: Arc<Core>,
    /// The number of each worker, by shard and by its id there. A single shard hands ids out in order.
    numbers: Vec<Vec<u32>>,
}

impl Reader for Lookup {
    type Query = Vec<u64>;

    fn query(&self, hashes: &[u64]) -> Vec<u64> {
        hashes.to_vec()
    }

    fn all(&mut self, query: &Vec<u64>, mut report: impl FnMut(u32, u32)) {
        match &*self.core {
            Core::One(index) => index.score_into(query, |&hash| hash, false, report),
            Core::Sharded(index) => {
                let within = (1 << SHARD_SHIFT) - 1;
                index.score_into(
                    query,
                    |&hash| hash,
                    false,
                    |id, depth| {
                        report(self.numbers[(id >> SHARD_SHIFT) as usize][(id & within) as usize], depth);
                    },
                )
            }
        };
    }
}
