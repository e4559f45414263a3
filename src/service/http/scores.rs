//! Matches in the format of Dynamo's standalone indexer, counted in tokens.

use serde::{Serialize, Serializer};

use crate::event::Worker;
use crate::service::doubt::{Doubts, Exactness};
use crate::service::tier::Tier;

/// The depth at which one tier of a worker matches. Sorted, the rows of an instance and of a worker are neighbours.
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

    /// Sorts rows, and keeps the deepest one of each tier of a worker.
    pub(super) fn merge(rows: &mut Vec<Self>) {
        rows.sort_unstable();
        rows.dedup_by(|next, kept| {
            let same = (next.instance, next.rank, next.tier) == (kept.instance, kept.rank, kept.tier);
            if same {
                kept.depth = next.depth;
            }
            same
        });
    }
}

/// An answer to a query.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scores<'a> {
    /// Sorted.
    pub(super) rows: &'a [Row],
    pub(super) block_size: u32,
    /// The workers about which the answer may not be exact, and why; sorted.
    pub(super) doubts: &'a [(Worker, Doubts)],
}

/// The rows of one instance.
#[derive(Clone, Copy)]
struct Instance<'a> {
    rows: &'a [Row],
    block_size: u32,
}

impl<'a> Scores<'a> {
    /// Estimates how many bytes it takes.
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

    /// Returns the tokens that its ranks have in device memory.
    fn device(self) -> impl Iterator<Item = (u32, u64)> + use<'a> {
        let rows = self.rows.iter().filter(|row| row.tier == Tier::Device);
        rows.map(move |row| (row.rank, self.tokens(row.depth)))
    }

    /// Returns the longest prefix that any of its ranks has on this tier or a faster one.
    fn down_to(self, tier: Tier) -> u64 {
        let depths = self.rows.iter().filter(|row| row.tier <= tier).map(|row| row.depth);
        self.tokens(depths.max().unwrap_or(0))
    }
}

/// Groups doubts by instance.
fn by_instance(doubts: &[(Worker, Doubts)]) -> impl Iterator<Item = (u64, &[(Worker, Doubts)])> {
    doubts.chunk_by(|a, b| a.0.id == b.0.id).map(|doubts| (doubts[0].0.id, doubts))
}

/// How exact the answer about a rank is, and why it is not more exact.
#[derive(Serialize)]
struct Reliance {
    exactness: Exactness,
    reasons: Doubts,
}

/// A map that is serialised while it is computed.
struct Map<F>(F);

impl<K: Serialize, V: Serialize, I: Iterator<Item = (K, V)>, F: Fn() -> I> Serialize for Map<F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map((self.0)())
    }
}

impl Serialize for Scores<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Answer<S, I, D, R> {
            scores: S,
            frequencies: [u64; 0],
            instances: I,
            /// Ranks about which the answer is not exact; absent if there are none.
            #[serde(skip_serializing_if = "Option::is_none")]
            degraded: Option<D>,
            #[serde(skip_serializing_if = "Option::is_none")]
            exactness: Option<R>,
        }

        let with_device = || self.instances().filter(|(_, instance)| instance.device().next().is_some());
        let ranks = |doubts: &[(Worker, Doubts)]| doubts.iter().map(|(worker, _)| worker.dp_rank).collect::<Vec<_>>();
        let reliance = |&(worker, reasons): &(Worker, Doubts)| {
            (worker.dp_rank, Reliance { exactness: reasons.exactness(), reasons })
        };
        let doubtful = !self.doubts.is_empty();
        Answer {
            scores: Map(|| with_device().map(|(id, instance)| (id, Map(move || instance.device())))),
            frequencies: [],
            instances: Map(|| self.instances()),
            degraded: doubtful.then_some(Map(|| by_instance(self.doubts).map(|(id, doubts)| (id, ranks(doubts))))),
            exactness: doubtful.then_some(Map(|| {
                by_instance(self.doubts).map(|(id, doubts)| (id, Map(move || doubts.iter().map(reliance))))
            })),
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
