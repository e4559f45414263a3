//! What readers see: an immutable projection of the truth.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use super::holders::{Holders, Slot as WorkerSlot};
use super::publish::Project;
use super::run::{Prefixes, Run};
use super::shard::Shard;
use super::table::{Slot, SplitTable};
use crate::event::Worker;

/// Branch points that fit into a head's cache line.
pub(crate) const BRANCHES: usize = 4;

/// A run as readers see it: one cache line, found by the prefix hash of its first block.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub(crate) struct Head {
    pub(crate) prefixes: Prefixes,
    pub(crate) holders: Holders,
    /// The deepest cutoff.
    pub(crate) reach: u32,
    branches: [u32; BRANCHES],
    branch_count: u32,
}

const _: () = assert!(size_of::<Option<Head>>() == 64);

impl Head {
    fn of(run: &Run) -> Self {
        let mut branches = [0; BRANCHES];
        for (slot, &(offset, _)) in branches.iter_mut().zip(&run.branches) {
            *slot = offset;
        }
        Self {
            prefixes: run.prefixes.clone(),
            holders: run.holders.clone(),
            reach: run.holders.reach(),
            branches,
            branch_count: run.branches.len() as u32,
        }
    }

    /// Offsets at which other runs hang off this one, ascending; `None` where they are too many to list.
    #[inline]
    pub(crate) fn branches(&self) -> Option<&[u32]> {
        self.branches.get(..self.branch_count as usize)
    }
}

impl Slot for Option<Head> {
    // A lookup that goes on to the next slot pays for another cache line.
    const LOAD: usize = 65;
    const TAGGED: bool = true;

    fn vacant() -> Self {
        None
    }

    #[inline]
    fn key(&self) -> Option<u64> {
        self.as_ref().map(|head| head.prefixes.first)
    }
}

/// What answers tell of workers beside their depths. Versions are unique in the process, so that a reader can keep a
/// copy.
#[derive(Clone, Debug, Default)]
pub(crate) struct Roster {
    /// Changes with any of it.
    pub(crate) version: u64,
    /// Changes with the names.
    pub(crate) names_version: u64,
    /// By slot.
    pub(crate) names: Arc<[Worker]>,
    /// The slots of the incomplete workers, ascending: those of which blocks were left out.
    pub(crate) incomplete: Arc<[WorkerSlot]>,
}

impl Roster {
    /// Takes over what changed.
    pub(crate) fn renew(&mut self, names: Option<Vec<Worker>>, incomplete: Option<Vec<WorkerSlot>>) {
        static VERSION: AtomicU64 = AtomicU64::new(1);
        self.version = VERSION.fetch_add(1, Relaxed);
        if let Some(names) = names {
            self.names_version = self.version;
            self.names = names.into();
        }
        if let Some(incomplete) = incomplete {
            self.incomplete = incomplete.into();
        }
    }
}

/// One shard at one moment.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// The runs that sequences begin with: few, since so are system prompts, and so mostly in cache.
    roots: SplitTable<Option<Head>>,
    /// All other runs.
    heads: SplitTable<Option<Head>>,
    pub(crate) stamp: Stamp,
}

impl Snapshot {
    /// The run at position 0 that begins with this prefix hash.
    #[inline]
    pub(crate) fn root(&self, prefix: u64) -> Option<&Head> {
        self.roots.get(prefix).and_then(Option::as_ref)
    }

    /// The run at a later position that begins with this prefix hash.
    #[inline]
    pub(crate) fn head(&self, prefix: u64) -> Option<&Head> {
        self.heads.get(prefix).and_then(Option::as_ref)
    }

    /// Fetches what [`Snapshot::head`] will need.
    #[inline]
    pub(crate) fn prefetch_head(&self, prefix: u64) {
        self.heads.prefetch(prefix);
    }

    /// How many runs there are.
    pub(crate) fn len(&self) -> usize {
        self.roots.len() + self.heads.len()
    }

    /// How many bytes it has on the heap.
    pub(crate) fn bytes(&self) -> usize {
        self.roots.bytes() + self.heads.bytes()
    }

    fn put(&mut self, run: &Run) {
        let table = if run.parent.is_none() { &mut self.roots } else { &mut self.heads };
        // What this replaces ends here, on the writer's time.
        table.insert(Some(Head::of(run)));
    }
}

/// What a snapshot is as of.
#[derive(Clone, Debug)]
pub(crate) struct Stamp {
    pub(crate) roster: Roster,
    /// How many of the shard's accepted events it shows.
    pub(crate) watermark: u64,
    /// Publications up to this one.
    pub(crate) generation: u64,
    pub(crate) published: Instant,
}

impl Project for Snapshot {
    type Truth = Shard;
    type Stamp = Stamp;

    fn new(shard: &Shard, stamp: Stamp) -> Self {
        let mut snapshot = Self { roots: SplitTable::new(), heads: SplitTable::new(), stamp };
        shard.runs().iter().for_each(|run| snapshot.put(run));
        snapshot
    }

    fn update(&mut self, shard: &Shard, changes: &[u64], stamp: Stamp) {
        for &key in changes {
            match shard.runs().by_key(key) {
                Some(run) => self.put(run),
                None => drop(self.heads.remove(key).or_else(|| self.roots.remove(key))),
            }
        }
        self.stamp = stamp;
    }
}
