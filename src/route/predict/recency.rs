//! The predicted blocks of one worker, in the order in which they are dropped: least recently used prompt first, its
//! deepest block first. No block is dropped before its children, so there is never a hole.

use hashbrown::HashMap;

use crate::index::BuildMix;

/// Stands for no node.
const NONE: u32 = u32::MAX;

/// Blocks by name: a list from the most to the least recently used, and a tree in which each links to its parent.
#[derive(Debug)]
pub(super) struct Recency {
    nodes: Vec<Node>,
    vacant: Vec<u32>,
    by_name: HashMap<u64, u32, BuildMix>,
    newest: u32,
    oldest: u32,
}

#[derive(Debug)]
struct Node {
    name: u64,
    /// Number of the last decision that used it.
    used: u64,
    /// The block before it in its prompt.
    parent: u32,
    /// Number of its children.
    children: u32,
    newer: u32,
    older: u32,
}

impl Default for Recency {
    fn default() -> Self {
        let (nodes, vacant, by_name) = Default::default();
        Self { nodes, vacant, by_name, newest: NONE, oldest: NONE }
    }
}

impl Recency {
    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Returns how many leading blocks of a prompt are known.
    pub(super) fn known(&self, names: &[u64]) -> usize {
        names.iter().take_while(|&name| self.by_name.contains_key(name)).count()
    }

    /// Records that decision `by`, the latest, uses a prompt of which the first `known` blocks are known. Adds the
    /// others.
    pub(super) fn touch(&mut self, names: &[u64], known: usize, by: u64) {
        let mut parent = known.checked_sub(1).map_or(NONE, |last| self.by_name[&names[last]]);
        for &name in &names[known..] {
            if parent != NONE {
                self.nodes[parent as usize].children += 1;
            }
            let node = Node { name, used: by, parent, children: 0, newer: NONE, older: NONE };
            parent = self.vacant.pop().unwrap_or(self.nodes.len() as u32);
            if parent as usize == self.nodes.len() {
                self.nodes.push(node);
            } else {
                self.nodes[parent as usize] = node;
            }
            self.by_name.insert(name, parent);
        }
        // From the deepest up, so that each is more recent than its children.
        let mut at = parent;
        for depth in (0..names.len()).rev() {
            if depth < known {
                self.unlink(at);
            }
            self.link(at);
            let node = &mut self.nodes[at as usize];
            node.used = by;
            at = node.parent;
        }
    }

    /// Returns the last decision that used the least recent block.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.nodes.get(self.oldest as usize).map(|node| node.used)
    }

    /// Drops the least recent block, which has no children.
    ///
    /// # Panics
    /// If there is no block.
    pub(super) fn pop(&mut self) -> u64 {
        self.remove(self.oldest)
    }

    /// Drops the blocks of the prompt that ends with `end`, from there up, as long as they have no other children and
    /// no decision after `by` used them.
    pub(super) fn forget(&mut self, end: u64, by: u64, gone: &mut Vec<u64>) {
        let mut at = self.by_name.get(&end).copied().unwrap_or(NONE);
        while let Some(node) = self.nodes.get(at as usize)
            && node.children == 0
            && node.used <= by
        {
            let parent = node.parent;
            gone.push(self.remove(at));
            at = parent;
        }
    }

    fn remove(&mut self, at: u32) -> u64 {
        self.unlink(at);
        let Node { name, parent, children, .. } = self.nodes[at as usize];
        debug_assert!(children == 0, "a block is dropped after its children");
        if let Some(parent) = self.nodes.get_mut(parent as usize) {
            parent.children -= 1;
        }
        self.by_name.remove(&name);
        self.vacant.push(at);
        name
    }

    /// Links a node as the newest.
    fn link(&mut self, at: u32) {
        let older = std::mem::replace(&mut self.newest, at);
        let node = &mut self.nodes[at as usize];
        (node.newer, node.older) = (NONE, older);
        match self.nodes.get_mut(older as usize) {
            Some(older) => older.newer = at,
            None => self.oldest = at,
        }
    }

    fn unlink(&mut self, at: u32) {
        let Node { newer, older, .. } = self.nodes[at as usize];
        match self.nodes.get_mut(newer as usize) {
            Some(node) => node.older = older,
            None => self.newest = older,
        }
        match self.nodes.get_mut(older as usize) {
            Some(node) => node.newer = newer,
            None => self.oldest = newer,
        }
    }
}
