//! What readers see: an immutable projection of the truth.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use super::holders::Holders;
use super::publish::Project;
use super::run::{Prefixes, Run};
use super::shard::Shard;
use super::table::{Slot, SplitTable};
use crate::event::Worker;

/// Branch points that fit into a head's cache line.
const BRANCHES: usize = 4;

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

    fn vacant() -> Self {
        None
    }

    #[inline]
    fn key(&self) -> Option<u64> {
        self.as_ref().map(|head| head.prefixes.first)
    }
}

/// Workers by slot. The version is unique in the process, so that a reader can keep a copy.
#[derive(Debug)]
pub(crate) struct Roster {
    pub(crate) version: u64,
    pub(crate) workers: Vec<Worker>,
}

impl Roster {
    pub(crate) fn new(workers: Vec<Worker>) -> Self {
        static VERSION: AtomicU64 = AtomicU64::new(1);
        Self { version: VERSION.fetch_add(1, Relaxed), workers }
    }
}

/// One shard at one moment.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) heads: SplitTable<Option<Head>>,
    pub(crate) stamp: Stamp,
}

impl Snapshot {
    /// The run that begins with this prefix hash.
    #[inline]
    pub(crate) fn head(&self, prefix: u64) -> Option<&Head> {
        self.heads.get(prefix).and_then(Option::as_ref)
    }
}

/// What a snapshot is as of.
#[derive(Clone, Debug)]
pub(crate) struct Stamp {
    pub(crate) roster: Arc<Roster>,
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
        let mut heads = SplitTable::new();
        for run in shard.runs().iter() {
            heads.insert(Some(Head::of(run)));
        }
        Self { heads, stamp }
    }

    fn update(&mut self, shard: &Shard, changes: &[u64], stamp: Stamp) {
        for &key in changes {
            // What this replaces ends here, on the writer's time.
            drop(match shard.runs().by_key(key) {
                Some(run) => self.heads.insert(Some(Head::of(run))),
                None => self.heads.remove(key),
            });
        }
        self.stamp = stamp;
    }
}
