//! Jump search: from a query's local hashes to who holds how much of it.
//!
//! The walk goes from run to run. A run's head lists the offsets at which other runs hang off it; in ascending order
//! each is probed in the heads table with the query's own prefix hash just behind it. A hit means that the query's
//! whole prefix is there and that it leaves the run here, so the run's array is never touched. A miss at every branch
//! means that the query ends inside this run, and the array is searched for the place by jumps.
//!
//! Ascending order matters. The head that a deeper branch point would find may also be one that the query reaches
//! over another run, which leaves this one further up; the first hit is the path itself.
//!
//! A walk stops after every run, with what the next one needs on its way, so that many walks can take turns.

use super::holders::Holders;
use super::matches::{Matches, Search};
use super::prefix::PrefixHasher;
use super::snapshot::{BRANCHES, Head, Snapshot};

/// Is told of every place that a walk looks at. What ships has none, `()`, and pays nothing for it.
pub(crate) trait Witness {
    /// This was found among the heads, for the query's prefix that ends at this position.
    fn head<'a>(&mut self, position: u32, found: Option<&'a Head>) -> Option<&'a Head>;
    /// At this position the array of the run that the path is in has the query's prefix, or has not.
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

/// Adds to `matches` what `snapshot`, of shard number `shard`, holds of `query`.
pub(crate) fn search(
    snapshot: &Snapshot,
    hasher: &PrefixHasher,
    stride: u32,
    query: &[u64],
    shard: u32,
    matches: &mut Matches,
) {
    let mut walk = Walk::new(snapshot, hasher, stride, query, shard, matches, ());
    while walk.step() {}
}

/// As [`search`], for shard number 0, with `witness` looking on.
#[cfg(feature = "figures")]
pub(crate) fn search_before<W: Witness>(
    snapshot: &Snapshot,
    hasher: &PrefixHasher,
    stride: u32,
    query: &[u64],
    matches: &mut Matches,
    witness: W,
) -> W {
    let mut walk = Walk::new(snapshot, hasher, stride, query, 0, matches, witness);
    while walk.step() {}
    walk.witness
}

/// How many walks of a batch are under way at a time: each fetches several lines at once, and what more of them know of
/// themselves would not stay in the first cache.
const GROUP: usize = 8;

/// As [`search`] for many queries, each with an answer of its own: while one walk waits for memory, others go on.
pub(crate) fn search_many(
    snapshot: &Snapshot,
    hasher: &PrefixHasher,
    stride: u32,
    queries: &[impl AsRef<[u64]>],
    shard: u32,
    answers: &mut [Matches],
) {
    let pairs = queries.iter().zip(answers);
    let mut walks = pairs.map(|(query, into)| Walk::new(snapshot, hasher, stride, query.as_ref(), shard, into, ()));
    let mut group: [_; GROUP] = std::array::from_fn(|_| walks.next());
    let mut under_way = true;
    while under_way {
        under_way = false;
        for place in &mut group {
            if let Some(walk) = place {
                under_way = true;
                if !walk.step() {
                    *place = walks.next();
                }
            }
        }
    }
}

/// A query on its way from run to run.
struct Walk<'a, W> {
    snapshot: &'a Snapshot,
    hasher: &'a PrefixHasher,
    stride: u32,
    query: &'a [u64],
    search: Search<'a>,
    /// The position that the path has got to: that of the first block of the run ahead.
    start: u32,
    /// The run left last: its holders are looked at while the next run's memory is on its way.
    left: Option<Left<'a>>,
    ahead: Ahead<'a>,
    /// Of the run ahead.
    aims: Aims,
    witness: W,
}

/// What a walk does next; the memory it takes is on its way.
enum Ahead<'a> {
    /// Finds the run that begins with this prefix hash of the query.
    Head(Option<u64>),
    /// Looks whether the query leaves this run at one of its branch points.
    Branches(Crossing<'a>),
    /// Looks how much of this run's array is the query's.
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
    /// How many of the run's blocks matter: held by somebody, and asked for.
    limit: u32,
}

/// Branch points of a run that matter, ascending, and the query's prefix hash behind each.
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
    fn new(
        snapshot: &'a Snapshot,
        hasher: &'a PrefixHasher,
        stride: u32,
        query: &'a [u64],
        shard: u32,
        matches: &'a mut Matches,
        witness: W,
    ) -> Self {
        let search = matches.begin(shard, &snapshot.stamp);
        let mut walk = Self {
            snapshot,
            hasher,
            stride,
            query,
            search,
            start: 0,
            left: None,
            ahead: Ahead::Head(None),
            aims: Aims::default(),
            witness,
        };
        if !query.is_empty() {
            walk.ahead = Ahead::Head(Some(walk.prefix(0)));
        }
        walk
    }

    /// Does what is next, and says whether there is more to do.
    #[inline]
    fn step(&mut self) -> bool {
        let next = match self.ahead {
            Ahead::Head(None) => None,
            Ahead::Head(Some(prefix)) if self.start == 0 => self.witness.head(0, self.snapshot.root(prefix)),
            Ahead::Head(Some(prefix)) => self.witness.head(self.start, self.snapshot.head(prefix)),
            Ahead::Branches(Crossing { head, limit }) => {
                if !self.narrow(true) {
                    return false;
                }
                let look = |&(branch, prefix): &(u32, u64)| {
                    (branch, self.witness.head(self.start + branch + 1, self.snapshot.head(prefix)))
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
                if head.branches().is_none() && (self.start as usize) < self.query.len() {
                    self.ahead = self.seek();
                    return true;
                }
                None
            }
        };
        self.come_to(next)
    }

    /// To the run that begins where the path has got to.
    #[inline]
    fn seek(&mut self) -> Ahead<'a> {
        let prefix = self.prefix(0);
        self.snapshot.prefetch_head(prefix);
        Ahead::Head(Some(prefix))
    }

    /// Looks at the holders of the run left last, if there is one. Returns whether somebody holds all of the path.
    #[inline]
    fn narrow(&mut self, goes_on: bool) -> bool {
        match self.left.take() {
            Some(Left { holders, start, covered }) => self.search.layers.narrow(holders, start, covered, goes_on),
            None => true,
        }
    }

    /// The path goes on behind the first `covered` blocks of the run.
    #[inline]
    fn leave(&mut self, head: &'a Head, covered: u32) {
        self.left = Some(Left { holders: &head.holders, start: self.start, covered });
        self.start += covered;
    }

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
        self.search.prefixes.at(self.hasher, self.query, self.start + offset)
    }

    /// Takes aim at the branch points that matter, if the head lists them. Fetches all that will be looked at: one wait
    /// instead of one after the other.
    #[inline]
    fn aim(&mut self, head: &Head, limit: u32) {
        head.holders.prefetch();
        self.aims.len = 0;
        for &branch in head.branches().unwrap_or_default() {
            if branch < limit && self.start + branch + 1 < self.query.len() as u32 {
                let prefix = self.prefix(branch + 1);
                self.snapshot.prefetch_head(prefix);
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
    /// Where some left the run others will, so the first look is around the branch points, from the last one up.
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

    /// How many of the run's blocks are the query's, if that at offset `hit` is and none from `miss` on is or matters.
    ///
    /// A prefix hash stands for the whole prefix, so agreement at one offset is agreement at all before it: gallop
    /// from stride to stride, then bisect between the last hit and the first miss.
    #[inline]
    fn jump(&mut self, head: &Head, mut hit: u32, mut miss: u32) -> u32 {
        // Most queries that do not leave at a branch cover all that is held.
        if hit + 1 < miss && self.agrees(head, miss - 1) {
            return miss;
        }
        let mut step = self.stride;
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
