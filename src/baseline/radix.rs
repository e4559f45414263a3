//! The fourth design: a prefix tree (a trie; the story calls it a radix tree, but paths are not compressed) of
//! `Rc<RefCell>`, behind an actor. A node is a block under its whole prefix, and has its children by local hash and its
//! workers. Every worker has a table from its sequence hashes to nodes. `SGLang` keeps the cache of a single
//! engine in such a tree (`RadixAttention`).
//!
//! The story does not say when nodes are freed. This follows its authors' first published code: when the last worker
//! leaves a node, the node drops its children. The node itself is dropped only when that happens to its parent, so the
//! root keeps a node for every first block that there ever was.
//!
//! **Cost**: a lookup follows a pointer and compares all remaining workers at every block; an event costs a few hash
//! table operations per block. One thread does all of it.
//!
//! **Wrong answers**: none for caches that hold a block only together with all blocks before it. Otherwise
//! - too shallow, where a hole is filled again: the node that everybody had left has dropped what is behind it;
//! - too shallow, where a worker has two sequence hashes for a block and removes one: a node counts workers, not hashes;
//! - too deep, where a worker gives the sequence hash of a block to another block: nothing removes it from the first
//!   node again, not even when all of the worker's blocks are cleared.

use std::cell::RefCell;
use std::mem;
use std::rc::Rc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::model::{Model, drain};
use crate::event::{Event, EventData, Worker};
use crate::index::Rejection;

type Node = Rc<RefCell<Block>>;

#[derive(Debug, Default)]
struct Block {
    children: FxHashMap<u64, Node>,
    workers: FxHashSet<Worker>,
}

#[derive(Debug, Default)]
pub(super) struct RadixTree {
    root: Node,
    /// The nodes by worker and sequence hash.
    lookup: FxHashMap<Worker, FxHashMap<u64, Node>>,
}

impl Block {
    fn leave(&mut self, worker: Worker) {
        self.workers.remove(&worker);
        if self.workers.is_empty() {
            self.children.clear();
        }
    }
}

impl Model for RadixTree {
    fn apply(&mut self, event: &Event) -> Result<(), Rejection> {
        let worker = event.worker;
        match &event.data {
            EventData::Stored { parent, blocks } => {
                let nodes = self.lookup.entry(worker).or_default();
                let mut at = match parent {
                    None => Rc::clone(&self.root),
                    Some(parent) => Rc::clone(nodes.get(parent).ok_or(Rejection::UnknownParent)?),
                };
                for block in blocks {
                    let child = Rc::clone(at.borrow_mut().children.entry(block.local).or_default());
                    child.borrow_mut().workers.insert(worker);
                    nodes.insert(block.sequence, Rc::clone(&child));
                    at = child;
                }
            }
            EventData::Removed { blocks } => {
                let nodes = self.lookup.entry(worker).or_default();
                for node in blocks.iter().filter_map(|sequence| nodes.remove(sequence)) {
                    node.borrow_mut().leave(worker);
                }
            }
            EventData::Cleared | EventData::WorkerRemoved => {
                for node in self.lookup.remove(&worker).into_iter().flat_map(FxHashMap::into_values) {
                    node.borrow_mut().leave(worker);
                }
            }
            EventData::WorkerAdded | EventData::CopiesCounted => {}
        }
        Ok(())
    }

    fn find(&self, query: &[u64], scores: &mut Vec<(Worker, u32)>) {
        let mut active = Vec::new();
        let mut depth = 0;
        let mut at = Rc::clone(&self.root);
        for local in query {
            let Some(child) = at.borrow().children.get(local).map(Rc::clone) else { break };
            let workers = &child.borrow().workers;
            if depth == 0 {
                active.extend(workers);
            } else {
                drain(&mut active, depth, scores, |worker| workers.contains(worker));
            }
            if active.is_empty() {
                break;
            }
            depth += 1;
            at = Rc::clone(&child);
        }
        scores.extend(active.into_iter().map(|worker| (worker, depth)));
    }
}

/// Drops the tree without recursion, since a sequence may be longer than the stack is deep.
impl Drop for Block {
    fn drop(&mut self) {
        let mut loose: Vec<Node> = mem::take(&mut self.children).into_values().collect();
        while let Some(node) = loose.pop() {
            if let Some(block) = Rc::into_inner(node) {
                loose.extend(mem::take(&mut block.into_inner().children).into_values());
            }
        }
    }
}
