//! The fifth design: a concurrent radix tree, which is the [radix tree](super::radix) with `Arc<RwLock>` for its nodes,
//! and a concurrent map for the workers' tables. Lookups run on the caller's thread, and a pool of threads applies the
//! events.
//!
//! A thread holds the lock of one node at a time (without lock coupling: Bayer and Schkolnick 1977), so a lookup may see
//! a part of an event, and two lookups may see the events of two workers in different orders.
//!
//! **Cost**: at every block, a lookup follows a pointer, counts a reference, takes a lock and compares all remaining
//! workers. Lookups write to counters and locks that all of them share, most of all near the root. An event costs a lock
//! and a few hash table operations per block.
//!
//! **Wrong answers**: those of the [radix tree](super::radix), once everything is applied.

use std::mem;
use std::sync::Arc;

use dashmap::DashMap;
use parking_lot::RwLock;
use rustc_hash::{FxBuildHasher, FxHashMap, FxHashSet};

use super::model::{Model, drain};
use super::pool::table_of;
use crate::event::{Event, EventData, Worker};
use crate::index::Rejection;

type Node = Arc<RwLock<Block>>;

#[derive(Default)]
struct Block {
    children: FxHashMap<u64, Node>,
    workers: FxHashSet<Worker>,
}

#[derive(Default)]
pub(super) struct ConcurrentRadixTree {
    root: Node,
    /// The nodes by worker and sequence hash. Only the worker's own thread takes the inner lock.
    lookup: DashMap<Worker, RwLock<FxHashMap<u64, Node>>, FxBuildHasher>,
}

impl Block {
    fn leave(&mut self, worker: Worker) {
        self.workers.remove(&worker);
        if self.workers.is_empty() {
            self.children.clear();
        }
    }
}

impl Model for Arc<ConcurrentRadixTree> {
    fn apply(&mut self, event: &Event) -> Result<(), Rejection> {
        let worker = event.worker;
        match &event.data {
            EventData::Stored { parent, blocks } => {
                let nodes = table_of(worker, &self.lookup);
                let mut nodes = nodes.write();
                let mut at = match parent {
                    None => Arc::clone(&self.root),
                    Some(parent) => Arc::clone(nodes.get(parent).ok_or(Rejection::UnknownParent)?),
                };
                for block in blocks {
                    let child = Arc::clone(at.write().children.entry(block.local).or_default());
                    child.write().workers.insert(worker);
                    nodes.insert(block.sequence, Arc::clone(&child));
                    at = child;
                }
            }
            EventData::Removed { blocks } => {
                let Some(nodes) = self.lookup.get(&worker) else { return Ok(()) };
                let mut nodes = nodes.write();
                for node in blocks.iter().filter_map(|sequence| nodes.remove(sequence)) {
                    node.write().leave(worker);
                }
            }
            EventData::Cleared | EventData::WorkerRemoved => {
                let Some((_, nodes)) = self.lookup.remove(&worker) else { return Ok(()) };
                for node in nodes.into_inner().into_values() {
                    node.write().leave(worker);
                }
            }
            EventData::WorkerAdded | EventData::CopiesCounted => {}
        }
        Ok(())
    }

    fn find(&self, query: &[u64], scores: &mut Vec<(Worker, u32)>) {
        let mut active = Vec::new();
        let mut depth = 0;
        let mut at = Arc::clone(&self.root);
        for local in query {
            let Some(child) = at.read().children.get(local).map(Arc::clone) else { break };
            let workers = &child.read().workers;
            if depth == 0 {
                active.extend(workers);
            } else {
                drain(&mut active, depth, scores, |worker| workers.contains(worker));
            }
            if active.is_empty() {
                break;
            }
            depth += 1;
            at = Arc::clone(&child);
        }
        scores.extend(active.into_iter().map(|worker| (worker, depth)));
    }
}

/// Drops the tree without recursion, since a sequence may be longer than the stack is deep.
impl Drop for Block {
    fn drop(&mut self) {
        let mut loose: Vec<Node> = mem::take(&mut self.children).into_values().collect();
        while let Some(node) = loose.pop() {
            if let Some(block) = Arc::into_inner(node) {
                loose.extend(mem::take(&mut block.into_inner().children).into_values());
            }
        }
    }
}
