//! The tree that a trace's ids form: every id follows one other, its parent, wherever it occurs.

use super::error::Reason;
use super::numbers::Numbers;

/// A radix tree of ids: a node is a stretch of ids that all rows passed whole or not at all.
///
/// A row adds two nodes at most: it splits one where it leaves it, and hangs what is new below. What somebody knows of
/// nodes is kept in lists by their number, which [`follow`](Step::follow) the tree.
#[derive(Debug, Default)]
pub(super) struct Prefixes {
    nodes: Vec<Node>,
    /// The ids of all nodes.
    ids: Vec<u64>,
    /// By id, the node that begins with it, or [`INSIDE`].
    begins: Numbers,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    /// The node before, or [`ROOT`].
    parent: u32,
    /// Where its ids are among all.
    start: u32,
    len: u32,
}

/// The parent of a first node.
pub(super) const ROOT: u32 = u32::MAX;
/// An id within a node.
const INSIDE: u32 = u32::MAX - 1;

/// What a row did to the tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Step {
    /// How many of its ids were there before: the first ones, since a known id has a known parent.
    pub(super) known: usize,
    /// The node whose front became a new node.
    pub(super) split: Option<u32>,
    /// Whether another new node was hung below, as the last one.
    pub(super) leaf: bool,
}

impl Step {
    /// Adds to a list by node what is known of the new ones: of a front what was known of the whole, of others nothing.
    pub(super) fn follow<T: Clone + Default>(self, list: &mut Vec<T>) {
        list.extend(self.split.map(|node| list[node as usize].clone()));
        list.extend(self.leaf.then(T::default));
    }
}

impl Prefixes {
    /// Finds the nodes of a row, from the root, and adds what is new of it.
    ///
    /// # Errors
    /// [`Reason::TwoParents`] and [`Reason::TooManyDistinctIds`]; the tree is then any.
    pub(super) fn row(&mut self, ids: &[u64], path: &mut Vec<u32>) -> Result<Step, Reason> {
        path.clear();
        let mut step = Step::default();
        while let Some(&id) = ids.get(step.known) {
            let Some(node) = self.begins.get(id) else { break };
            let parent = path.last().copied().unwrap_or(ROOT);
            if node == INSIDE || self.nodes[node as usize].parent != parent {
                return Err(Reason::TwoParents { id });
            }
            let there = self.ids(node);
            let same = there.iter().zip(&ids[step.known..]).take_while(|(a, b)| a == b).count();
            step.known += same;
            if same < there.len() {
                path.push(self.split(node, same as u32));
                step.split = Some(node);
                break;
            }
            path.push(node);
        }
        if step.known < ids.len() {
            step.leaf = true;
            let parent = path.last().copied().unwrap_or(ROOT);
            path.push(self.add(parent, &ids[step.known..])?);
        }
        Ok(step)
    }

    /// How many nodes there are.
    pub(super) fn nodes(&self) -> u32 {
        self.nodes.len() as u32
    }

    /// How many ids.
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// The node before this one, or [`ROOT`].
    pub(super) fn parent(&self, node: u32) -> u32 {
        self.nodes[node as usize].parent
    }

    /// How many ids a node has.
    pub(super) fn len_of(&self, node: u32) -> usize {
        self.nodes[node as usize].len as usize
    }

    fn ids(&self, node: u32) -> &[u64] {
        let Node { start, len, .. } = self.nodes[node as usize];
        &self.ids[start as usize..][..len as usize]
    }

    /// Makes a node of the front of another, whose children stay with the back.
    fn split(&mut self, node: u32, len: u32) -> u32 {
        let front = self.nodes.len() as u32;
        let back = &mut self.nodes[node as usize];
        let new = Node { len, ..*back };
        *back = Node { parent: front, start: back.start + len, len: back.len - len };
        self.begins.replace(self.ids[new.start as usize], front);
        self.begins.replace(self.ids[(new.start + len) as usize], node);
        self.nodes.push(new);
        front
    }

    /// Adds a node of ids that must all be new.
    fn add(&mut self, parent: u32, ids: &[u64]) -> Result<u32, Reason> {
        let (node, start) = (self.nodes.len() as u32, self.ids.len() as u32);
        if self.ids.len() + ids.len() >= INSIDE as usize {
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
        self.ids.extend(ids);
        self.nodes.push(Node { parent, start, len: ids.len() as u32 });
        Ok(node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(prefixes: &mut Prefixes, ids: &[u64]) -> (usize, Vec<u32>) {
        let mut path = Vec::new();
        let step = prefixes.row(ids, &mut path).unwrap();
        let there: Vec<u64> = path.iter().flat_map(|&node| prefixes.ids(node).to_vec()).collect();
        assert_eq!(there, ids, "the path spells the row");
        (step.known, path)
    }

    #[test]
    fn nodes_are_split_where_rows_part() {
        let mut prefixes = Prefixes::default();
        assert_eq!(row(&mut prefixes, &[70, 71, 72]), (0, vec![0]));
        assert_eq!(row(&mut prefixes, &[70, 5, 6]), (1, vec![1, 2]), "70 is the front, 71 and 72 stay node 0");
        assert_eq!(row(&mut prefixes, &[9]), (0, vec![3]));
        assert_eq!(row(&mut prefixes, &[70, 71]), (2, vec![1, 4]));
        assert_eq!(row(&mut prefixes, &[70, 71, 72]), (3, vec![1, 4, 0]));
        assert_eq!(row(&mut prefixes, &[70, 71, 72, 73]), (3, vec![1, 4, 0, 5]));
        assert_eq!(row(&mut prefixes, &[]), (0, vec![]));
        assert_eq!((prefixes.len(), prefixes.nodes(), prefixes.parent(0), prefixes.parent(1)), (7, 6, 4, ROOT));
    }

    #[test]
    fn an_id_has_one_parent() {
        for wrong in [&[71][..], &[70, 72], &[8, 71], &[70, 71, 70], &[8, 8], &[9, 9], &[9, 70], &[70, 8]] {
            let mut prefixes = Prefixes::default();
            row(&mut prefixes, &[70, 71, 72]);
            row(&mut prefixes, &[8]);
            let error = prefixes.row(wrong, &mut Vec::new()).unwrap_err();
            assert!(matches!(error, Reason::TwoParents { .. }), "{wrong:?}");
        }
    }

    #[test]
    fn lists_follow() {
        let mut list = vec!["a", "b"];
        Step { known: 0, split: Some(0), leaf: true }.follow(&mut list);
        assert_eq!(list, ["a", "b", "a", ""]);
        Step::default().follow(&mut list);
        assert_eq!(list.len(), 4);
    }
}
