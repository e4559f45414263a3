//! smg-radix-tree: `RadixTree`, which is exact, built for one thread, and the leanest of the peers.
//!
//! Cost model: synchronous. Every change takes `&mut`, so nothing can read beside a writer. To make the tree usable
//! from two threads, this file puts it behind a `std` read-write lock, which is taken once per event and once per
//! lookup; without contention, it costs a lookup about 10 ns. Lookups write the depths to a vector, and allocate
//! nothing once their scratch space has grown.

use std::sync::{Arc, RwLock};

use kvleap::{Event, EventData};
use radix_tree::{Config, HolderId, Overlap, OverlapScratch, RadixTree};

use super::{Fleet, Open, Reader, System, Writer};

pub struct Smg;

impl System for Smg {
    type Writer = Owner;
    type Reader = Guest;

    fn open(fleet: Fleet) -> Open<Owner, Guest> {
        let mut tree = RadixTree::new(Config::default());
        // Holders are numbered in the order of their creation, so their numbers are those of the workers.
        let holders: Vec<_> = (0..fleet.workers).map(|number| tree.create_holder(&number.to_string())).collect();
        let tree = Arc::new(RwLock::new(tree));
        let reader = Guest { tree: tree.clone(), scratch: OverlapScratch::default(), rows: Vec::new() };
        Open { encode: Box::new(move |event| encode(&holders, event)), writer: Owner(tree), reader }
    }
}

pub struct Owner(Arc<RwLock<RadixTree>>);

pub enum Change {
    Stored { holder: HolderId, parent: Option<u64>, blocks: Vec<(u64, u64)> },
    Removed { holder: HolderId, blocks: Vec<u64> },
    Cleared { holder: HolderId },
}

impl Writer for Owner {
    type Event = Change;

    fn apply(&mut self, change: Change) {
        let mut tree = self.0.write().expect("no thread has panicked");
        match change {
            Change::Stored { holder, parent, blocks } => {
                tree.store(holder, parent, &blocks).expect("the parent is held");
            }
            Change::Removed { holder, blocks } => {
                tree.remove(holder, &blocks);
            }
            Change::Cleared { holder } => tree.clear(holder),
        }
    }

    fn flush(&mut self) {}
}

fn encode(holders: &[HolderId], event: Event) -> Change {
    let holder = holders[event.worker.id as usize];
    match event.data {
        EventData::Stored { parent, blocks } => {
            let blocks = blocks.iter().map(|block| (block.sequence, block.local)).collect();
            Change::Stored { holder, parent, blocks }
        }
        EventData::Removed { blocks } => Change::Removed { holder, blocks },
        EventData::Cleared | EventData::WorkerRemoved | EventData::WorkerAdded => Change::Cleared { holder },
        EventData::CopiesCounted => unreachable!("no workload counts copies"),
    }
}

pub struct Guest {
    tree: Arc<RwLock<RadixTree>>,
    scratch: OverlapScratch,
    rows: Vec<Overlap>,
}

impl Reader for Guest {
    type Query = Vec<u64>;

    fn query(&self, hashes: &[u64]) -> Vec<u64> {
        hashes.to_vec()
    }

    fn all(&mut self, query: &Vec<u64>, mut report: impl FnMut(u32, u32)) {
        self.tree.read().expect("no thread has panicked").overlap(query, &mut self.scratch, &mut self.rows);
        for row in &self.rows {
            report(row.holder.parts().0, row.depth);
        }
    }
}
