//! The prefixes that requests share, as a tree without unary chains.

use crate::trace::prefixes::{Prefixes, ROOT, Slots, slots};
use crate::trace::{Reason, Row};

/// Blocks that several requests passed, as nodes of some length; node 0 is the root and has none.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
}

/// Blocks that the same requests passed one after another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    /// Its parent, which comes before it.
    pub(super) parent: u32,
    /// Blocks from the root to its first.
    pub(super) start: u32,
    /// Blocks.
    pub(super) length: u32,
    /// Requests that passed it.
    pub(super) visited: u32,
    /// Requests that left the tree behind it, into blocks that no other had.
    pub(super) to_leaf: u32,
}

impl Node {
    pub(super) fn end(&self) -> u32 {
        self.start + self.length
    }
}

/// Where a request left the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exit {
    /// Behind this node.
    pub(super) node: u32,
    /// Blocks of its own that follow; none if it ended there.
    pub(super) leaf: u32,
}

/// Collects rows for a tree.
#[derive(Debug, Default)]
pub(super) struct Grower {
    prefixes: Prefixes,
    path: Vec<Slots>,
    /// Requests that passed each slot.
    visits: Vec<u32>,
    /// The last slot of every row, or [`ROOT`].
    ends: Vec<u32>,
}

impl Grower {
    pub(super) fn row(&mut self, row: &Row) -> Result<(), Reason> {
        self.prefixes.follow(&row.hash_ids, &mut self.path)?;
        self.visits.resize(self.prefixes.len(), 0);
        slots(&self.path).for_each(|slot| self.visits[slot as usize] += 1);
        self.ends.push(self.path.last().map_or(ROOT, |range| range.end - 1));
        Ok(())
    }

    /// The tree, and where each row left it, in order.
    pub(super) fn finish(self) -> (Tree, Vec<Exit>) {
        let root = Node { parent: 0, start: 0, length: 0, visited: self.ends.len() as u32, to_leaf: 0 };
        let mut nodes = vec![root];
        // Where who ends at a slot left the tree. A slot comes after its parent.
        let mut exits: Vec<Exit> = Vec::with_capacity(self.visits.len());
        for (slot, &visited) in (0..).zip(&self.visits) {
            let parent = self.prefixes.parent(slot);
            let above = exits.get(parent as usize).copied().unwrap_or(Exit { node: 0, leaf: 0 });
            let node = &mut nodes[above.node as usize];
            exits.push(if visited == 1 {
                node.to_leaf += u32::from(above.leaf == 0);
                Exit { leaf: above.leaf + 1, ..above }
            } else if above.node > 0 && node.visited == visited {
                node.length += 1;
                above
            } else {
                let start = node.end();
                nodes.push(Node { parent: above.node, start, length: 1, visited, to_leaf: 0 });
                Exit { node: nodes.len() as u32 - 1, leaf: 0 }
            });
        }
        let ends = self.ends.iter().map(|&end| exits.get(end as usize).copied().unwrap_or(Exit { node: 0, leaf: 0 }));
        let ends = ends.collect();
        (Tree { nodes }, ends)
    }
}

impl Tree {
    /// The nodes on the way from the root, which is left out, to `node`.
    pub(super) fn way(&self, mut node: u32, way: &mut Vec<u32>) {
        way.clear();
        while node > 0 {
            way.push(node);
            node = self.nodes[node as usize].parent;
        }
        way.reverse();
    }

    /// Nodes on the longest way.
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
