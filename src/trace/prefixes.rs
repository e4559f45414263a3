//! The radix tree that the ids of a trace form.
//!
//! An id stands for a block and its whole prefix, so it follows the same id, its parent, wherever it occurs. The ids
//! therefore form a tree, and a row is a path in it from the root. Chains without a branch are one node, as in a
//! compressed trie (Morrison, "PATRICIA", 1968), so the tree has at most two nodes for each row, however long the rows.
//!
//! What others know about nodes, they keep in lists by node number. The numbers of nodes never change, and a row can
//! add nodes in two ways only, for which [`Growth::follow`] extends a list: a split adds the front of an old node, to
//! which everything applies that is known of the old one, and a leaf adds a node of which nothing is known yet.

use super::error::Reason;
use super::numbers::Numbers;

/// A radix tree of ids: a node is a sequence of ids that every row so far has passed as a whole or not at all.
///
/// A row adds at most two nodes: it splits the node that it leaves in the middle, and adds its new ids as a leaf.
#[derive(Debug, Default)]
pub(super) struct PrefixTree {
    nodes: Vec<Node>,
    /// Number of ids in all nodes.
    len: usize,
    /// The ids of nodes whose ids are not consecutive.
    lists: Vec<u64>,
    /// By id, the node that starts with it, or [`INSIDE`].
    begins: Numbers,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    /// The parent node, or [`ROOT`].
    parent: u32,
    len: u32,
    first: u64,
    /// Where its ids are in `lists`; [`COUNTED`] if they are consecutive numbers, as in most traces.
    list: u32,
}

const COUNTED: u32 = u32::MAX;

/// Stands for the parent of a first node.
pub(super) const ROOT: u32 = u32::MAX;
/// Stands for an id within a node, after its first.
const INSIDE: u32 = u32::MAX - 1;

/// How a row has changed the tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Growth {
    /// How many of its ids were known before: the first ones, because a known id has a known parent.
    pub(super) known: usize,
    /// The node whose front became a new node.
    pub(super) split: Option<u32>,
    /// Whether a leaf was added, as the last node.
    pub(super) leaf: bool,
}

impl Growth {
    /// Extends a list by node for the new nodes: a front gets a copy of the entry of the node that was split, a leaf
    /// the default.
    pub(super) fn follow<T: Clone + Default>(self, list: &mut Vec<T>) {
        list.extend(self.split.map(|node| list[node as usize].clone()));
        list.extend(self.leaf.then(T::default));
    }
}

impl PrefixTree {
    /// Adds a row, and writes the nodes that it passes, from the root, to `path`.
    ///
    /// # Errors
    /// [`Reason::TwoParents`] and [`Reason::TooManyDistinctIds`]; the tree must not be used any more then.
    pub(super) fn row(&mut self, ids: &[u64], path: &mut Vec<u32>) -> Result<Growth, Reason> {
        path.clear();
        let mut growth = Growth::default();
        while let Some(&id) = ids.get(growth.known) {
            let Some(node) = self.begins.get(id) else { break };
            let parent = path.last().copied().unwrap_or(ROOT);
            // The row enters a node in its middle, or from elsewhere: the id has another parent than before.
            if node == INSIDE || self.nodes[node as usize].parent != parent {
                return Err(Reason::TwoParents { id });
            }
            // The first id is equal, so at least one is.
            let same = self.ids(node).zip(&ids[growth.known..]).take_while(|(a, b)| a == *b).count();
            growth.known += same;
            if same < self.len_of(node) {
                // The row leaves the node in its middle. The rest of the row must be new, which `add` checks.
                path.push(self.split(node, same as u32));
                growth.split = Some(node);
                break;
            }
            path.push(node);
        }
        if growth.known < ids.len() {
            growth.leaf = true;
            let parent = path.last().copied().unwrap_or(ROOT);
            path.push(self.add(parent, &ids[growth.known..])?);
        }
        Ok(growth)
    }

    /// Number of nodes.
    pub(super) fn nodes(&self) -> u32 {
        self.nodes.len() as u32
    }

    /// Number of ids.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Returns the parent of a node, or [`ROOT`].
    pub(super) fn parent(&self, node: u32) -> u32 {
        self.nodes[node as usize].parent
    }

    /// Returns how many ids a node has.
    pub(super) fn len_of(&self, node: u32) -> usize {
        self.nodes[node as usize].len as usize
    }

    fn ids(&self, node: u32) -> impl Iterator<Item = u64> + '_ {
        let Node { first, len, list, .. } = self.nodes[node as usize];
        let listed = if list == COUNTED { None } else { Some(&self.lists[list as usize..]) };
        (0..len).map(move |place| listed.map_or(first.wrapping_add(place.into()), |ids| ids[place as usize]))
    }

    /// Splits off the first `len` ids of a node as a new node, which becomes its parent. The old node keeps its number
    /// and its children, so no other node has to change.
    fn split(&mut self, node: u32, len: u32) -> u32 {
        let front = self.nodes.len() as u32;
        let whole = self.nodes[node as usize];
        let (first, list) = match whole.list {
            COUNTED => (whole.first.wrapping_add(len.into()), COUNTED),
            list => (self.lists[(list + len) as usize], list + len),
        };
        self.nodes[node as usize] = Node { parent: front, len: whole.len - len, first, list };
        self.nodes.push(Node { len, ..whole });
        self.begins.replace(whole.first, front);
        self.begins.replace(first, node);
        front
    }

    /// Adds a node of ids, all of which must be new.
    fn add(&mut self, parent: u32, ids: &[u64]) -> Result<u32, Reason> {
        let node = self.nodes.len() as u32;
        self.len += ids.len();
        if self.len >= INSIDE as usize {
            return Err(Reason::TooManyDistinctIds);
        }
        let mut number = node;
        for &id in ids {
            if self.begins.get(id).is_some() {
                return Err(Reason::TwoParents { id });
            }
            self.begins.insert(id, number);
            number = INSIDE;
        }
        let counted = ids.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1));
        let list = if counted { COUNTED } else { self.lists.len() as u32 };
        if !counted {
            self.lists.extend(ids);
        }
        self.nodes.push(Node { parent, len: ids.len() as u32, first: ids[0], list });
        Ok(node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(prefixes: &mut PrefixTree, ids: &[u64]) -> (usize, Vec<u32>) {
        let mut path = Vec::new();
        let growth = prefixes.row(ids, &mut path).unwrap();
        let there: Vec<u64> = path.iter().flat_map(|&node| prefixes.ids(node)).collect();
        assert_eq!(there, ids, "the path spells the row");
        (growth.known, path)
    }

    #[test]
    fn nodes_are_split_where_rows_part() {
        let mut prefixes = PrefixTree::default();
        assert_eq!(row(&mut prefixes, &[70, 71, 72]), (0, vec![0]));
        assert_eq!(row(&mut prefixes, &[70, 5, 6]), (1, vec![1, 2]), "70 is the front, 71 and 72 stay node 0");
        assert_eq!(row(&mut prefixes, &[9]), (0, vec![3]));
        assert_eq!(row(&mut prefixes, &[70, 71]), (2, vec![1, 4]));
        assert_eq!(row(&mut prefixes, &[70, 71, 72]), (3, vec![1, 4, 0]));
        assert_eq!(row(&mut prefixes, &[70, 71, 72, 73]), (3, vec![1, 4, 0, 5]));
        assert_eq!(row(&mut prefixes, &[]), (0, vec![]));
        assert_eq!(row(&mut prefixes, &[40, 30, 20, 10]), (0, vec![6]));
        assert_eq!(row(&mut prefixes, &[40, 30, 50]), (2, vec![7, 8]), "40 and 30 are the front");
        assert_eq!(row(&mut prefixes, &[40, 30, 20, 10, 11]), (4, vec![7, 6, 9]));
        assert_eq!(row(&mut prefixes, &[u64::MAX - 1, u64::MAX]), (0, vec![10]));
        assert_eq!(row(&mut prefixes, &[u64::MAX - 1, u64::MAX]), (2, vec![10]));
        assert_eq!((prefixes.len(), prefixes.nodes(), prefixes.parent(0), prefixes.parent(1)), (15, 11, 4, ROOT));
    }

    #[test]
    fn an_id_has_one_parent() {
        for wrong in [&[71][..], &[70, 72], &[8, 71], &[70, 71, 70], &[8, 8], &[9, 9], &[9, 70], &[70, 8]] {
            let mut prefixes = PrefixTree::default();
            row(&mut prefixes, &[70, 71, 72]);
            row(&mut prefixes, &[8]);
            let error = prefixes.row(wrong, &mut Vec::new()).unwrap_err();
            assert!(matches!(error, Reason::TwoParents { .. }), "{wrong:?}");
        }
    }

    #[test]
    fn lists_follow() {
        let mut list = vec!["a", "b"];
        Growth { known: 0, split: Some(0), leaf: true }.follow(&mut list);
        assert_eq!(list, ["a", "b", "a", ""]);
        Growth::default().follow(&mut list);
        assert_eq!(list.len(), 4);
    }
}
