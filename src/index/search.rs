//! Jump search: from a query's local hashes to who holds how much of it.
//!
//! The walk goes from run to run. A run's head lists the offsets at which other runs hang off it; in ascending order
//! each is probed in the heads table with the query's own prefix hash just behind it. A hit means that the query's
//! whole prefix is there and that it leaves the run here, so the run's array is never touched. A miss at every branch
//! means that the query ends inside this run, and the array is searched for the place by jumps.
//!
//! Ascending order matters. The head that a deeper branch point would find may also be one that the query reaches
//! over another run, which leaves this one further up; the first hit is the path itself.

use super::matches::{Matches, Search};
use super::prefix::{PrefixHasher, QueryPrefixes};
use super::snapshot::{Head, Snapshot};

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
    let mut next = (!query.is_empty()).then(|| prefixes.at(hasher, query, 0)).and_then(|p| snapshot.head(p));
    while let Some(head) = next {
        // Beyond the deepest cutoff nobody holds anything, so it does not matter what is there.
        let limit = head.reach.min(query.len() as u32 - start);
        if limit == 0 {
            break;
        }
        let mut run = Walk { head, start, limit, hasher, query, prefixes: &mut *prefixes };
        let (matched, child) = match head.branches() {
            Some(branches) => run.leave_at(branches, snapshot).unwrap_or_else(|| (run.jump(stride), None)),
            None => {
                let matched = run.jump(stride);
                (matched, run.child(matched, snapshot))
            }
        };
        next = child;
        if !layers.narrow(&head.holders, start, matched, next.is_some()) {
            return;
        }
        start += matched;
    }
    layers.finish(start);
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

impl Walk<'_> {
    /// The query's prefix hash at an offset of the run.
    #[inline]
    fn prefix(&mut self, offset: u32) -> u64 {
        self.prefixes.at(self.hasher, self.query, self.start + offset)
    }

    /// The first of `branches` at which the query goes on in a child: how much of the run it covers, and the child.
    #[inline]
    fn leave_at<'s>(&mut self, branches: &[u32], snapshot: &'s Snapshot) -> Option<(u32, Option<&'s Head>)> {
        let limit = self.limit;
        for covered in branches.iter().map(|branch| branch + 1).take_while(|&covered| covered <= limit) {
            if let Some(child) = self.child(covered, snapshot) {
                return Some((covered, Some(child)));
            }
        }
        None
    }

    /// The run that the query goes on in after covering `covered` blocks of this one.
    #[inline]
    fn child<'s>(&mut self, covered: u32, snapshot: &'s Snapshot) -> Option<&'s Head> {
        let beyond = (self.start + covered) < self.query.len() as u32;
        beyond.then(|| self.prefix(covered)).and_then(|prefix| snapshot.head(prefix))
    }

    /// Whether the query's prefix up to and including `offset` is this run's.
    #[inline]
    fn agrees(&mut self, offset: u32) -> bool {
        self.head.prefixes.get(offset) == self.prefix(offset)
    }

    /// How many of the run's first `limit` blocks are the query's; at least one, for the head matched.
    ///
    /// A prefix hash stands for the whole prefix, so agreement at one offset is agreement at all before it: gallop
    /// from stride to stride, then bisect between the last hit and the first miss.
    #[inline]
    fn jump(&mut self, stride: u32) -> u32 {
        // Most queries that end in a run cover all of it that is held.
        if self.agrees(self.limit - 1) {
            return self.limit;
        }
        let (mut hit, mut miss) = (0, self.limit - 1);
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
