//! A radix tree with the content of an index: nodes are split where sequences branch, and where workers hold different
//! numbers of blocks.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Node;
use crate::event::{Event, EventData, Worker};

/// A block in the tree, which stands for its whole prefix.
#[derive(Default)]
struct TreeBlock {
    children: BTreeMap<u64, usize>,
    workers: BTreeSet<(u64, u32)>,
}

/// Builds the tree from an export, in which parents are stored before their children.
pub(super) fn tree(export: &[Event]) -> Vec<Node> {
    // Number 0 is the root, which is not a block.
    let mut blocks = vec![TreeBlock::default()];
    let mut names: HashMap<(Worker, u64), usize> = HashMap::new();
    for event in export {
        match &event.data {
            EventData::Stored { parent, blocks: chain } => {
                let mut at = parent.and_then(|parent| names.get(&(event.worker, parent)).copied()).unwrap_or(0);
                for block in chain {
                    let fresh = blocks.len();
                    at = *blocks[at].children.entry(block.local).or_insert(fresh);
                    if at == fresh {
                        blocks.push(TreeBlock::default());
                    }
                    blocks[at].workers.insert((event.worker.id, event.worker.dp_rank));
                    names.insert((event.worker, block.sequence), at);
                }
            }
            // An export describes a hole by storing and then removing its blocks.
            EventData::Removed { blocks: removed } => {
                for sequence in removed {
                    if let Some(&at) = names.get(&(event.worker, *sequence)) {
                        blocks[at].workers.remove(&(event.worker.id, event.worker.dp_rank));
                    }
                }
            }
            EventData::Cleared | EventData::WorkerRemoved | EventData::WorkerAdded | EventData::CopiesCounted => {}
        }
    }
    let mut nodes: Vec<Node> = Vec::new();
    // First blocks of nodes, with the position and the parent. They are taken from the end, so children come in order.
    let mut begin: Vec<(usize, u32, Option<usize>)> =
        blocks[0].children.values().rev().map(|&child| (child, 0, None)).collect();
    while let Some((first, start, parent)) = begin.pop() {
        let (mut last, mut len) = (first, 1);
        while let Some((_, &only)) = blocks[last].children.first_key_value()
            && blocks[last].children.len() == 1
            && blocks[only].workers == blocks[first].workers
        {
            (last, len) = (only, len + 1);
        }
        let number = nodes.len();
        nodes.push(Node { start, len, parent, workers: blocks[first].workers.iter().copied().collect() });
        begin.extend(blocks[last].children.values().rev().map(|&child| (child, start + len, Some(number))));
    }
    nodes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Block;

    #[test]
    fn nodes_end_where_sequences_or_holders_part() {
        let store = |id, parent, blocks: &[(u64, u64)]| {
            let blocks = blocks.iter().map(|&(sequence, local)| Block { sequence, local }).collect();
            Event { worker: Worker::new(id, 0), id: 1, data: EventData::Stored { parent, blocks } }
        };
        let export = [
            store(1, None, &[(1, 10), (2, 20), (3, 30), (4, 40)]),
            store(1, Some(2), &[(5, 50)]),
            store(2, None, &[(1, 10)]),
            store(2, Some(1), &[(7, 20), (8, 30)]),
        ];
        let node = |start, len, parent, workers: &[u64]| Node {
            start,
            len,
            parent,
            workers: workers.iter().map(|&id| (id, 0)).collect(),
        };
        let expected = [
            node(0, 2, None, &[1, 2]),
            node(2, 1, Some(0), &[1, 2]),
            node(3, 1, Some(1), &[1]),
            node(2, 1, Some(0), &[1]),
        ];
        assert_eq!(tree(&export), expected);
    }
}
