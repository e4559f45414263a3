//! Jump search: from a query's local hashes to who holds how much of it.
//!
//! The walk goes from run to run. A run's head lists the offsets at which other runs hang off it; in ascending order
//! each is probed in the heads table with the query's own prefix hash just behind it. A hit means that the query's
//! whole prefix is there and that it leaves the run here, so the run's array is never touched. A miss at every branch
//! means that the query ends inside this run, and the array is searched for the place by jumps.
//!
//! Ascending order matters. The head that a deeper branch point would find may also be one that the query reaches
//! over another run, which leaves this one further up; the first hit is the path itself.

use super::holders::Holders;
use super::matches::{Matches, Search};
use super::prefix::{PrefixHasher, QueryPrefixes};
use super::snapshot::{BRANCHES, Head, Snapshot};

/// Adds to `matches` what `snapshot`, of shard number `shard`, holds of `query`.
pub(crate) fn search(
    snapshot: &Snapshot,
    hasher: &PrefixHasher,
    stride: u32,
    query: &[u64],
    shard: u32,
    matches: &mut Matches,
) {
    let Search { prefixes, layers } = matches.begin(shard, &snapshot.stamp);
    let mut start = 0;
    // The run left last: its holders are looked at while the next run's memory is on its way.
    let mut left: Option<Step> = None;
    let mut next = (!query.is_empty()).then(|| prefixes.at(hasher, query, 0)).and_then(|p| snapshot.head(p));
    while let Some(head) = next {
        // Beyond the deepest cutoff nobody holds anything, so it does not matter what is there.
        let limit = head.reach.min(query.len() as u32 - start);
        if limit == 0 {
            break;
        }
        let mut run = Walk { head, start, limit, hasher, query, prefixes: &mut *prefixes };
        let aims = run.aim(snapshot);
        if let Some(Step { holders, start, covered }) = left
            && !layers.narrow(holders, start, covered, true)
        {
            return;
        }
        let (covered, child) = match &aims {
            Some(aims) => run.leave(aims, stride, snapshot),
            None => {
                let covered = run.jump(0, limit, stride);
                (covered, run.beyond(covered).and_then(|prefix| snapshot.head(prefix)))
            }
        };
        left = Some(Step { holders: &head.holders, start, covered });
        start += covered;
        next = child;
    }
    if let Some(Step { holders, start, covered }) = left {
        layers.narrow(holders, start, covered, next.is_some());
    }
    layers.finish(start);
}

/// A run on the path.
struct Step<'s> {
    holders: &'s Holders,
    /// The position of its first block.
    start: u32,
    /// How many of its blocks the path covers.
    covered: u32,
}

/// The query inside one run.
struct Walk<'a> {
    head: &'a Head,
    /// The position of the run's first block.
    start: u32,
    /// How many of the run's blocks matter: held by somebody, and asked for.
    limit: u32,
    hasher: &'a PrefixHasher,
    query: &'a [u64],
    prefixes: &'a mut QueryPrefixes,
}

/// Branch points of a run, and the query's prefix hash behind each.
#[derive(Default)]
struct Aims {
    list: [(u32, u64); BRANCHES],
    len: usize,
}

impl Walk<'_> {
    /// The query's prefix hash at an offset of the run.
    #[inline]
    fn prefix(&mut self, offset: u32) -> u64 {
        self.prefixes.at(self.hasher, self.query, self.start + offset)
    }

    /// The query's prefix hashes behind the branch points that matter, ascending; `None` where the head does not list
    /// them. Fetches all that will be looked at: one wait instead of one after the other.
    #[inline]
    fn aim(&mut self, snapshot: &Snapshot) -> Option<Aims> {
        self.head.holders.prefetch();
        let branches = self.head.branches()?;
        let mut aims = Aims::default();
        for &branch in branches {
            if branch < self.limit && self.start + branch + 1 < self.query.len() as u32 {
                let prefix = self.prefix(branch + 1);
                snapshot.heads.prefetch(prefix);
                aims.list[aims.len] = (branch, prefix);
                aims.len += 1;
            }
        }
        if aims.len == 0 {
            self.head.prefixes.prefetch(self.limit - 1);
        }
        Some(aims)
    }

    /// Where the query leaves the run: how many of the run's blocks it covers, and the run that it goes on in.
    #[inline]
    fn leave<'s>(&mut self, aims: &Aims, stride: u32, snapshot: &'s Snapshot) -> (u32, Option<&'s Head>) {
        let aims = &aims.list[..aims.len];
        for &(branch, prefix) in aims {
            if let Some(child) = snapshot.head(prefix) {
                return (branch + 1, Some(child));
            }
        }
        // Where some left the run others will, so the next look is around the branch points, from the last one up.
        let mut miss = self.limit;
        for &(branch, prefix) in aims.iter().rev() {
            if branch + 1 < miss && self.head.prefixes.get(branch + 1) == prefix {
                return (self.jump(branch + 1, miss, stride), None);
            }
            if self.agrees(branch) {
                return (branch + 1, None);
            }
            miss = branch;
        }
        (self.jump(0, miss, stride), None)
    }

    /// The query's prefix hash behind the first `covered` blocks of the run, if the query goes on there.
    #[inline]
    fn beyond(&mut self, covered: u32) -> Option<u64> {
        ((self.start + covered) < self.query.len() as u32).then(|| self.prefix(covered))
    }

    /// Whether the query's prefix up to and including `offset` is this run's.
    #[inline]
    fn agrees(&mut self, offset: u32) -> bool {
        self.head.prefixes.get(offset) == self.prefix(offset)
    }

    /// How many of the run's blocks are the query's, if that at offset `hit` is and none from `miss` on is or matters.
    ///
    /// A prefix hash stands for the whole prefix, so agreement at one offset is agreement at all before it: gallop
    /// from stride to stride, then bisect between the last hit and the first miss.
    #[inline]
    fn jump(&mut self, mut hit: u32, mut miss: u32, stride: u32) -> u32 {
        // Most queries that do not leave at a branch cover all that is held.
        if hit + 1 < miss && self.agrees(miss - 1) {
            return miss;
        }
        let mut step = stride;
        while miss - hit > step {
            if self.agrees(hit + step) {
                hit += step;
                step = step.saturating_mul(2);
            } else {
                miss = hit + step;
            }
        }
        while miss - hit > 1 {
            let middle = hit + (miss - hit) / 2;
            if self.agrees(middle) { hit = middle } else { miss = middle }
        }
        hit + 1
    }
}
