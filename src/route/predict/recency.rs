//! The blocks of one worker, in the order in which they are given up: of the prompt that was used the longest ago, the
//! deepest first. No block goes before those that follow it, so there is never a hole.

use hashbrown::HashMap;

use crate::index::BuildMix;

/// No node.
const NONE: u32 = u32::MAX;

/// Blocks by name, linked from the most to the least recently used, and to the blocks that they follow.
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
    /// By the decision of this number.
    used: u64,
    /// The block before it in its prompt.
    parent: u32,
    /// How many follow it.
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

    /// How many leading blocks of a prompt are here.
    pub(super) fn known(&self, names: &[u64]) -> usize {
        names.iter().take_while(|&name| self.by_name.contains_key(name)).count()
    }

    /// The decision number `by`, the latest, uses a prompt of which the first `known` blocks are here: now all are.
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
        // From the deepest up, so that each is more recent than those that follow it.
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

    /// The decision that was the last to use the least recent block.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.nodes.get(self.oldest as usize).map(|node| node.used)
    }

    /// Gives up the least recent block, which has none behind it.
    ///
    /// # Panics
    /// If there is none.
    pub(super) fn pop(&mut self) -> u64 {
        self.remove(self.oldest)
    }

    /// Gives up the blocks of the prompt that ends with `end`, from there up, as far as no other prompt goes on from
    /// them and no decision after that one used them.
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
        debug_assert!(children == 0, "a block goes after those that follow it");
        if let Some(parent) = self.nodes.get_mut(parent as usize) {
            parent.children -= 1;
        }
        self.by_name.remove(&name);
        self.vacant.push(at);
        name
    }

    /// Makes it the newest.
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
