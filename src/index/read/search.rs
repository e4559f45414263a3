//! Jump search: from a query's local hashes to who holds how much of it.
//!
//! The walk goes from run to run. A run's head lists its branch points: the offsets at which other runs hang off it. The
//! walk probes each of them, in ascending order, in the table of heads with the query's own prefix hash just behind it.
//! A hit means that the query's whole prefix is there and that it leaves the run here, so the run's array is never
//! touched. A miss at every branch point means that the query ends inside this run. Then the array is searched for the
//! place by galloping (Bentley and Yao, 1976): jumps that double, and a bisection of the last one.
//!
//! The ascending order matters. The head found behind a deeper branch point may also be one that the query reaches over
//! another run, which leaves this one further up. The first hit is the path itself.
//!
//! A walk stops after every step with what the next one needs on its way from memory, so that many walks can take turns.

use super::matches::{Matches, Search};
use super::snapshot::{BRANCHES, Head, Snapshot};
use crate::index::shared::holders::Holders;
use crate::index::shared::prefix::PrefixHasher;

/// Hears of every place that a walk looks at. Lookups have the witness `()`, which costs nothing.
pub(crate) trait Witness {
    /// The table of heads has this for the query's prefix that ends at this position.
    fn head<'a>(&mut self, position: u32, found: Option<&'a Head>) -> Option<&'a Head>;
    /// The current run's array `agrees` with the query's prefix at this position, or does not.
    fn slot(&mut self, position: u32, agrees: bool) -> bool;
}

impl Witness for () {
    #[inline]
    fn head<'a>(&mut self, _: u32, found: Option<&'a Head>) -> Option<&'a Head> {
        found
    }

    #[inline]
    fn slot(&mut self, _: u32, agrees: bool) -> bool {
        agrees
    }
}

/// What the lookups in one shard have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lookup<'a> {
    pub(crate) snapshot: &'a Snapshot,
    /// The number of the snapshot's shard.
    pub(crate) shard: u32,
    pub(crate) hasher: &'a PrefixHasher,
    /// The first jump, in blocks.
    pub(crate) stride: u32,
}

/// How many walks of a batch take turns. Each fetches several cache lines at once; with more of them, their own state
/// would not stay in the first-level cache.
const TURNS: usize = 8;

impl Lookup<'_> {
    /// Adds to `matches` what the snapshot holds of `query`.
    pub(crate) fn find(&self, query: &[u64], matches: &mut Matches) {
        self.find_before(query, matches, ());
    }

    /// As [`Lookup::find`], with `witness` looking on.
    pub(crate) fn find_before<W: Witness>(&self, query: &[u64], matches: &mut Matches, witness: W) -> W {
        let mut walk = Walk::new(*self, query, matches, witness);
        while walk.step() {}
        walk.witness
    }

    /// As [`Lookup::find`] for many queries, each with an answer of its own. While one walk waits for memory, others go
    /// on.
    pub(crate) fn find_many(&self, queries: &[impl AsRef<[u64]>], answers: &mut [Matches]) {
        let pairs = queries.iter().zip(answers);
        let mut walks = pairs.map(|(query, matches)| Walk::new(*self, query.as_ref(), matches, ()));
        let mut turns: [_; TURNS] = std::array::from_fn(|_| walks.next());
        let mut under_way = true;
        while under_way {
            under_way = false;
            for turn in &mut turns {
                if let Some(walk) = turn {
                    under_way = true;
                    if !walk.step() {
                        *turn = walks.next();
                    }
                }
            }
        }
    }
}

/// A query on its way from run to run.
struct Walk<'a, W> {
    lookup: Lookup<'a>,
    query: &'a [u64],
    search: Search<'a>,
    /// The position that the path has reached, which is that of the next run's first block.
    start: u32,
    /// The run that the path left last. Its holders are looked at while the next run's memory is on its way.
    left: Option<Left<'a>>,
    ahead: Ahead<'a>,
    /// The branch points of the run ahead.
    aims: Aims,
    witness: W,
}

/// What a walk does in its next step. The memory for it is on its way.
enum Ahead<'a> {
    /// Find the run that begins with this prefix hash of the query; `None` if the query is empty.
    Head(Option<u64>),
    /// See whether the query leaves this run at one of its branch points.
    Branches(Crossing<'a>),
    /// See how much of this run's array agrees with the query.
    Array(Crossing<'a>),
}

/// A run that the path has come through.
struct Left<'a> {
    holders: &'a Holders,
    /// The position of its first block.
    start: u32,
    /// How many of its blocks the path covers.
    covered: u32,
}

/// A run that the path has come to.
#[derive(Clone, Copy)]
struct Crossing<'a> {
    head: &'a Head,
    /// How many of the run's blocks matter: somebody holds them, and the query asks for them.
    limit: u32,
}

/// The branch points of a run that matter, ascending, and the query's prefix hash behind each.
#[derive(Default)]
struct Aims {
    list: [(u32, u64); BRANCHES],
    len: usize,
}

impl Aims {
    #[inline]
    fn iter(&self) -> std::slice::Iter<'_, (u32, u64)> {
        self.list[..self.len].iter()
    }
}

impl<'a, W: Witness> Walk<'a, W> {
    fn new(lookup: Lookup<'a>, query: &'a [u64], matches: &'a mut Matches, witness: W) -> Self {
        let search = matches.begin(lookup.shard, lookup.snapshot);
        let (ahead, aims) = (Ahead::Head(None), Aims::default());
        let mut walk = Self { lookup, query, search, start: 0, left: None, ahead, aims, witness };
        if !query.is_empty() {
            walk.ahead = Ahead::Head(Some(walk.prefix(0)));
        }
        walk
    }

    /// Takes the next step, and returns whether there is another.
    #[inline]
    fn step(&mut self) -> bool {
        let next = match self.ahead {
            Ahead::Head(None) => None,
            Ahead::Head(Some(prefix)) if self.start == 0 => self.witness.head(0, self.lookup.snapshot.root(prefix)),
            Ahead::Head(Some(prefix)) => self.witness.head(self.start, self.lookup.snapshot.head(prefix)),
            Ahead::Branches(Crossing { head, limit }) => {
                if !self.narrow(true) {
                    return false;
                }
                let look = |&(branch, prefix): &(u32, u64)| {
                    (branch, self.witness.head(self.start + branch + 1, self.lookup.snapshot.head(prefix)))
                };
                let mut children = self.aims.iter().map(look);
                let Some((branch, child)) = children.find(|(_, child)| child.is_some()) else {
                    let (branch, _) = self.aims.list[self.aims.len - 1];
                    head.prefixes.prefetch(branch + 1);
                    head.prefixes.prefetch(limit - 1);
                    self.ahead = Ahead::Array(Crossing { head, limit });
                    return true;
                };
                self.leave(head, branch + 1);
                child
            }
            Ahead::Array(Crossing { head, limit }) => {
                if !self.narrow(true) {
                    return false;
                }
                let covered = self.cover(head, limit);
                self.leave(head, covered);
                // A head with too many branch points lists none, so the query may leave the run right here.
                if head.branches().is_none() && (self.start as usize) < self.query.len() {
                    self.ahead = self.seek();
                    return true;
                }
                None
            }
        };
        self.come_to(next)
    }

    /// Looks for the run that begins where the path is.
    #[inline]
    fn seek(&mut self) -> Ahead<'a> {
        let prefix = self.prefix(0);
        self.lookup.snapshot.prefetch_head(prefix);
        Ahead::Head(Some(prefix))
    }

    /// Looks at the holders of the run that the path left last, if there is one. Returns whether any worker holds all of
    /// the path.
    #[inline]
    fn narrow(&mut self, goes_on: bool) -> bool {
        match self.left.take() {
            Some(Left { holders, start, covered }) => self.search.layers.narrow(holders, start, covered, goes_on),
            None => true,
        }
    }

    /// Takes the path to behind the first `covered` blocks of the run.
    #[inline]
    fn leave(&mut self, head: &'a Head, covered: u32) {
        self.left = Some(Left { holders: &head.holders, start: self.start, covered });
        self.start += covered;
    }

    /// Enters the next run, or ends the walk if there is none that matters. Returns whether it goes on.
    #[inline]
    fn come_to(&mut self, next: Option<&'a Head>) -> bool {
        // Beyond the deepest cutoff nobody holds anything, so it does not matter what is there.
        let limit = next.map_or(0, |head| head.reach.min(self.query.len() as u32 - self.start));
        if let Some(head) = next
            && limit > 0
        {
            self.aim(head, limit);
            let crossing = Crossing { head, limit };
            self.ahead = if self.aims.len > 0 { Ahead::Branches(crossing) } else { Ahead::Array(crossing) };
            return true;
        }
        self.narrow(next.is_some());
        self.search.layers.finish(self.start);
        false
    }

    /// The query's prefix hash at an offset of the run ahead.
    #[inline]
    fn prefix(&mut self, offset: u32) -> u64 {
        self.search.prefixes.at(self.lookup.hasher, self.query, self.start + offset)
    }

    /// Collects the branch points that matter, if the head lists them, and fetches all that the next steps look at, so
    /// that they wait once.
    #[inline]
    fn aim(&mut self, head: &Head, limit: u32) {
        head.holders.prefetch();
        self.aims.len = 0;
        for &branch in head.branches().unwrap_or_default() {
            if branch < limit && self.start + branch + 1 < self.query.len() as u32 {
                let prefix = self.prefix(branch + 1);
                self.lookup.snapshot.prefetch_head(prefix);
                self.aims.list[self.aims.len] = (branch, prefix);
                self.aims.len += 1;
            }
        }
        if self.aims.len == 0 {
            head.prefixes.prefetch(limit - 1);
        }
    }

    /// How many of the run's blocks the query covers.
    ///
    /// Queries that end in a run mostly end where others left it, so the branch points come first, from the last one up.
    #[inline]
    fn cover(&mut self, head: &Head, limit: u32) -> u32 {
        let mut miss = limit;
        for aim in (0..self.aims.len).rev() {
            let (branch, prefix) = self.aims.list[aim];
            if branch + 1 < miss && self.witness.slot(self.start + branch + 1, head.prefixes.get(branch + 1) == prefix)
            {
                return self.jump(head, branch + 1, miss);
            }
            if self.agrees(head, branch) {
                return branch + 1;
            }
            miss = branch;
        }
        self.jump(head, 0, miss)
    }

    /// Whether the query's prefix up to and including `offset` is this run's.
    #[inline]
    fn agrees(&mut self, head: &Head, offset: u32) -> bool {
        let agrees = head.prefixes.get(offset) == self.prefix(offset);
        self.witness.slot(self.start + offset, agrees)
    }

    /// How many of the run's blocks agree with the query. The block at offset `hit` does, and those from `miss` on do not,
    /// or do not matter.
    ///
    /// A prefix hash stands for the whole prefix, so agreement at one offset implies agreement at all before it. Gallop,
    /// then bisect between the last hit and the first miss.
    #[inline]
    fn jump(&mut self, head: &Head, mut hit: u32, mut miss: u32) -> u32 {
        // Most queries that leave at no branch point cover all that is held.
        if hit + 1 < miss && self.agrees(head, miss - 1) {
            return miss;
        }
        let mut step = self.lookup.stride;
        while miss - hit > step {
            if self.agrees(head, hit + step) {
                hit += step;
                step = step.saturating_mul(2);
            } else {
                miss = hit + step;
            }
        }
        while miss - hit > 1 {
            let middle = hit + (miss - hit) / 2;
            if self.agrees(head, middle) { hit = middle } else { miss = middle }
        }
        hit + 1
    }
}
