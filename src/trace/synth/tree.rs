//! The shared prefixes of requests, as a tree in which chains without a branch are one node.

use std::iter;

use crate::trace::prefixes::{PrefixTree, ROOT};
use crate::trace::{Reason, Row};

/// Blocks that several requests have, as nodes. Node 0 is the root and has no blocks.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
}

/// Consecutive blocks that the same requests have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    /// Its parent, which comes before it in the list.
    pub(super) parent: u32,
    /// Blocks between the root and its first block.
    pub(super) start: u32,
    /// Number of its blocks.
    pub(super) length: u32,
    /// Requests that passed it.
    pub(super) visited: u32,
    /// Requests that left the tree after it, with blocks that no other request has.
    pub(super) to_leaf: u32,
}

impl Node {
    pub(super) fn end(&self) -> u32 {
        self.start + self.length
    }
}

/// Where a request left the tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Exit {
    /// The last node before it left.
    pub(super) node: u32,
    /// Number of blocks of its own that follow; 0 if it ended there.
    pub(super) leaf: u32,
}

/// Builds a tree from rows.
#[derive(Debug, Default)]
pub(super) struct Grower {
    prefixes: PrefixTree,
    path: Vec<u32>,
    /// By node of `prefixes`, requests that passed it.
    visits: Vec<u32>,
    /// The last node of every row, or [`ROOT`].
    ends: Vec<u32>,
}

impl Grower {
    pub(super) fn row(&mut self, row: &Row) -> Result<(), Reason> {
        let growth = self.prefixes.row(&row.hash_ids, &mut self.path)?;
        growth.follow(&mut self.visits);
        self.path.iter().for_each(|&node| self.visits[node as usize] += 1);
        self.ends.push(self.path.last().copied().unwrap_or(ROOT));
        Ok(())
    }

    /// Returns the tree, and where each row left it, in order. Nodes that only one row passed are not part of it.
    pub(super) fn finish(self) -> (Tree, Vec<Exit>) {
        let root = Node { parent: 0, start: 0, length: 0, visited: self.ends.len() as u32, to_leaf: 0 };
        let mut tree = Tree { nodes: vec![root] };
        let mut exits = vec![None; self.visits.len()];
        for node in 0..self.prefixes.nodes() {
            self.exit(node, &mut tree, &mut exits);
        }
        let ends = self.ends.iter().map(|&end| exits.get(end as usize).copied().flatten().unwrap_or_default());
        let ends = ends.collect();
        (tree, ends)
    }

    /// Records where a row that ends at this node leaves the tree. Adds the node to the tree, after its ancestors,
    /// unless it is in the tree already.
    fn exit(&self, node: u32, tree: &mut Tree, exits: &mut [Option<Exit>]) {
        // A split gives a parent a higher number than its child, so missing ancestors are added first.
        let up = iter::successors(Some(node), |&node| Some(self.prefixes.parent(node)).filter(|&node| node != ROOT));
        let missing: Vec<u32> = up.take_while(|&node| exits[node as usize].is_none()).collect();
        for node in missing.into_iter().rev() {
            let above = exits.get(self.prefixes.parent(node) as usize).copied().flatten().unwrap_or_default();
            let (visited, length) = (self.visits[node as usize], self.prefixes.len_of(node) as u32);
            let parent = &mut tree.nodes[above.node as usize];
            exits[node as usize] = Some(if visited == 1 {
                parent.to_leaf += 1;
                Exit { leaf: length, ..above }
            } else {
                let start = parent.end();
                tree.nodes.push(Node { parent: above.node, start, length, visited, to_leaf: 0 });
                Exit { node: tree.nodes.len() as u32 - 1, leaf: 0 }
            });
        }
    }
}

impl Tree {
    /// Writes the nodes on the path from the root, which is left out, to `node`.
    pub(super) fn way(&self, mut node: u32, way: &mut Vec<u32>) {
        way.clear();
        while node > 0 {
            way.push(node);
            node = self.nodes[node as usize].parent;
        }
        way.reverse();
    }

    /// Returns the number of nodes on the longest path.
    pub(super) fn depth(&self) -> u32 {
        let mut depths = vec![0; self.nodes.len()];
        for (place, node) in self.nodes.iter().enumerate().skip(1) {
            depths[place] = depths[node.parent as usize] + 1;
        }
        depths.into_iter().max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_tree_spelt_out() {
        let mut grower = Grower::default();
        for ids in [&[0, 1][..], &[0, 1, 2, 3, 4], &[0, 1, 2, 3, 4, 5, 6], &[7, 8], &[7, 8, 9, 10], &[11, 12]] {
            grower.row(&Row { hash_ids: ids.to_vec(), ..Row::default() }).unwrap();
        }
        let (tree, exits) = grower.finish();
        let node = |parent, start, length, visited, to_leaf| Node { parent, start, length, visited, to_leaf };
        assert_eq!(
            tree.nodes,
            [node(0, 0, 0, 6, 1), node(0, 0, 2, 3, 0), node(1, 2, 3, 2, 1), node(0, 0, 2, 2, 1)],
            "root, 1, 4 and 8"
        );
        let exits: Vec<_> = exits.into_iter().map(|exit| (exit.node, exit.leaf)).collect();
        assert_eq!(exits, [(1, 0), (2, 0), (2, 2), (3, 0), (3, 2), (0, 2)]);
        assert_eq!(tree.depth(), 2);
        let mut way = vec![9];
        tree.way(2, &mut way);
        assert_eq!(way, [1, 2]);
    }

    #[test]
    fn rows_without_ids_and_single_rows_leave_the_root() {
        let mut grower = Grower::default();
        grower.row(&Row::default()).unwrap();
        grower.row(&Row { hash_ids: vec![5, 6], ..Row::default() }).unwrap();
        let (tree, exits) = grower.finish();
        assert_eq!((tree.nodes.len(), tree.nodes[0].to_leaf, tree.depth()), (1, 1, 0));
        assert_eq!(exits, [Exit { node: 0, leaf: 0 }, Exit { node: 0, leaf: 2 }]);
    }
}
