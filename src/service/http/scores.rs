//! Matches as the standalone indexer of Dynamo writes them, in tokens.

use serde::{Serialize, Serializer};

use crate::event::Worker;
use crate::service::tier::Tier;

/// How deep one tier of a rank matches; ordered so that the rows of an instance, and of a rank, are neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Row {
    instance: u64,
    rank: u32,
    tier: Tier,
    /// In blocks.
    depth: u32,
}

impl Row {
    pub(super) fn new((worker, depth): (Worker, u32)) -> Self {
        let (rank, tier) = Tier::split(worker);
        Self { instance: rank.id, rank: rank.dp_rank, tier, depth }
    }
}

/// An answer to a query.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scores<'a> {
    /// Sorted.
    pub(super) rows: &'a [Row],
    pub(super) block_size: u32,
    /// Workers of which something is missing, sorted.
    pub(super) degraded: &'a [Worker],
}

/// The rows of one instance.
#[derive(Clone, Copy)]
struct Instance<'a> {
    rows: &'a [Row],
    block_size: u32,
}

impl<'a> Scores<'a> {
    /// About how many bytes it takes.
    pub(super) fn room(&self) -> usize {
        64 + 128 * self.rows.len()
    }

    fn instances(self) -> impl Iterator<Item = (u64, Instance<'a>)> {
        let instances = self.rows.chunk_by(|a, b| a.instance == b.instance);
        instances.map(move |rows| (rows[0].instance, Instance { rows, block_size: self.block_size }))
    }
}

impl<'a> Instance<'a> {
    fn tokens(self, depth: u32) -> u64 {
        u64::from(depth) * u64::from(self.block_size)
    }

    /// What its ranks have in device memory.
    fn device(self) -> impl Iterator<Item = (u32, u64)> + use<'a> {
        let rows = self.rows.iter().filter(|row| row.tier == Tier::Device);
        rows.map(move |row| (row.rank, self.tokens(row.depth)))
    }

    /// The deepest prefix that a rank has down to this tier.
    fn down_to(self, tier: Tier) -> u64 {
        let depths = self.rows.iter().filter(|row| row.tier <= tier).map(|row| row.depth);
        self.tokens(depths.max().unwrap_or(0))
    }
}

/// The ranks of each instance.
fn by_instance(workers: &[Worker]) -> impl Iterator<Item = (u64, Vec<u32>)> {
    let instances = workers.chunk_by(|a, b| a.id == b.id);
    instances.map(|workers| (workers[0].id, workers.iter().map(|worker| worker.dp_rank).collect()))
}

/// A map that is written as it is made.
struct Map<F>(F);

impl<K: Serialize, V: Serialize, I: Iterator<Item = (K, V)>, F: Fn() -> I> Serialize for Map<F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map((self.0)())
    }
}

impl Serialize for Scores<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Answer<S, I, D> {
            scores: S,
            frequencies: [u64; 0],
            instances: I,
            /// Not there where all is exact.
            #[serde(skip_serializing_if = "Option::is_none")]
            degraded: Option<D>,
        }

        let with_device = || self.instances().filter(|(_, instance)| instance.device().next().is_some());
        Answer {
            scores: Map(|| with_device().map(|(id, instance)| (id, Map(move || instance.device())))),
            frequencies: [],
            instances: Map(|| self.instances()),
            degraded: (!self.degraded.is_empty()).then_some(Map(|| by_instance(self.degraded))),
        }
        .serialize(serializer)
    }
}

impl Serialize for Instance<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Answer<D> {
            longest_matched: u64,
            gpu: u64,
            dp: D,
            cpu: u64,
            disk: u64,
        }

        let [gpu, cpu, disk] = Tier::ALL.map(|tier| self.down_to(tier));
        Answer { longest_matched: disk, gpu, dp: Map(|| self.device()), cpu, disk }.serialize(serializer)
    }
}
