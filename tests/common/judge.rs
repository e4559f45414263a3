//! What an index should answer, by what the engines themselves report that they hold.

use std::collections::{BTreeMap, HashMap, HashSet};

use kvleap::Worker;
use kvleap::service::mock_publisher::{BlockState, EngineState};

/// For each worker, the paths of local hashes to all blocks that it holds together with all blocks before them.
#[derive(Debug, Default)]
pub(crate) struct Judge(BTreeMap<Worker, HashSet<Vec<u64>>>);

impl Judge {
    pub(crate) fn add(&mut self, instance: u64, state: &EngineState) {
        for (dp_rank, rank) in (0..).zip(&state.ranks) {
            let blocks: HashMap<u64, BlockState> = rank.blocks.iter().map(|block| (block.sequence, *block)).collect();
            let paths = rank.blocks.iter().filter_map(|block| path(&blocks, *block));
            self.0.insert(Worker::new(instance, dp_rank), paths.collect());
        }
    }

    /// Returns queries that cover every block that any worker holds.
    pub(crate) fn queries(&self) -> Vec<Vec<u64>> {
        let mut queries: Vec<_> = self.0.values().flatten().cloned().collect();
        queries.sort();
        // If one path continues another, the longer one covers both.
        queries.dedup_by(|longer, shorter| {
            longer.starts_with(shorter) && {
                std::mem::swap(longer, shorter);
                true
            }
        });
        queries
    }

    /// Returns how many leading blocks of the query each worker holds.
    pub(crate) fn depths(&self, query: &[u64]) -> BTreeMap<Worker, u32> {
        let depth =
            |paths: &HashSet<Vec<u64>>| (1..=query.len()).take_while(|&end| paths.contains(&query[..end])).count();
        let depths = self.0.iter().map(|(&worker, paths)| (worker, depth(paths) as u32));
        depths.filter(|&(_, depth)| depth > 0).collect()
    }
}

fn path(blocks: &HashMap<u64, BlockState>, block: BlockState) -> Option<Vec<u64>> {
    let mut path = vec![block.local];
    let mut parent = block.parent;
    while let Some(sequence) = parent {
        let before = blocks.get(&sequence)?;
        path.push(before.local);
        parent = before.parent;
    }
    path.reverse();
    Some(path)
}
