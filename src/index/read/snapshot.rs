//! What readers see: one shard at one moment. Nothing here changes while a reader can get at it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use crate::event::Worker;
use crate::index::shared::holders::{Holders, Slot};
use crate::index::shared::positions::PositionArray;
use crate::index::shared::table::{Entry, SplitTable};

/// How many branch points fit into a head's cache line.
pub(crate) const BRANCHES: usize = 4;

/// A run as readers see it: one cache line, found by the prefix hash of its first block.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub(crate) struct Head {
    pub(crate) prefixes: PositionArray,
    pub(crate) holders: Holders,
    /// The deepest cutoff.
    pub(crate) reach: u32,
    branches: [u32; BRANCHES],
    branch_count: u32,
}

const _: () = assert!(size_of::<Option<Head>>() == 64);

impl Head {
    /// The head of a run whose branch points, ascending, are at these offsets.
    pub(crate) fn new(
        prefixes: PositionArray,
        holders: Holders,
        branch_points: impl ExactSizeIterator<Item = u32>,
    ) -> Self {
        let branch_count = branch_points.len() as u32;
        let mut branches = [0; BRANCHES];
        branches.iter_mut().zip(branch_points).for_each(|(branch, offset)| *branch = offset);
        Self { reach: holders.reach(), prefixes, holders, branches, branch_count }
    }

    /// The offsets at which other runs hang off this one, ascending; `None` if they are too many to list.
    #[inline]
    pub(crate) fn branches(&self) -> Option<&[u32]> {
        self.branches.get(..self.branch_count as usize)
    }
}

impl Entry for Option<Head> {
    // Every further slot that a lookup touches is another cache line.
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

/// What answers say of workers beside their depths. Versions are unique in the process, so a reader can keep a copy.
#[derive(Clone, Debug, Default)]
pub(crate) struct Roster {
    /// Changes whenever any of it does.
    pub(crate) version: u64,
    /// Changes whenever the names do.
    pub(crate) names_version: u64,
    /// The workers by slot.
    pub(crate) names: Arc<[Worker]>,
    /// The slots of the incomplete workers, ascending.
    pub(crate) incomplete: Arc<[Slot]>,
}

impl Roster {
    /// Takes over what changed.
    pub(crate) fn renew(&mut self, names: Option<Vec<Worker>>, incomplete: Option<Vec<Slot>>) {
        // Relaxed: all that matters is that no number is given out twice.
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
///
/// A reader comes when another core has just written the snapshot, and fetches from there what changed. Most publications
/// change one cache line of it beside the heads: the first, with what changes of the stamp.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Snapshot {
    pub(crate) stamp: Stamp,
    /// The runs at position 0. They are few, because system prompts are, so they stay in the processor's cache.
    roots: SplitTable<Option<Head>>,
    /// All other runs.
    heads: SplitTable<Option<Head>>,
}

impl Snapshot {
    /// A snapshot without runs.
    pub(crate) fn empty(stamp: Stamp) -> Self {
        Self { roots: SplitTable::new(), heads: SplitTable::new(), stamp }
    }

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

    /// Fetches what entering or removing the run that begins with this prefix hash will need.
    #[inline]
    pub(crate) fn prefetch_to_change(&self, prefix: u64) {
        self.roots.prefetch_to_change(prefix);
        self.heads.prefetch_to_change(prefix);
    }

    /// How many runs there are.
    pub(crate) fn len(&self) -> usize {
        self.roots.len() + self.heads.len()
    }

    /// How many bytes it has on the heap.
    pub(crate) fn bytes(&self) -> usize {
        self.roots.bytes() + self.heads.bytes()
    }

    /// Enters a run, and frees what it replaces.
    pub(crate) fn insert(&mut self, head: Head, is_root: bool) {
        let table = if is_root { &mut self.roots } else { &mut self.heads };
        table.insert(Some(head));
    }

    /// Removes the run that begins with this prefix hash.
    pub(crate) fn remove(&mut self, prefix: u64) {
        drop(self.heads.remove(prefix).or_else(|| self.roots.remove(prefix)));
    }
}

/// The moment that a snapshot shows.
#[derive(Clone, Debug)]
#[repr(C)]
pub(crate) struct Stamp {
    /// How many of the shard's accepted events it reflects.
    pub(crate) watermark: u64,
    /// The number of publications up to this one.
    pub(crate) generation: u64,
    pub(crate) published: Instant,
    pub(crate) roster: Roster,
}

impl Stamp {
    /// Becomes like `newer`, and writes no more than it must.
    pub(crate) fn renew(&mut self, newer: &Self) {
        let Self { watermark, generation, published, roster } = newer;
        (self.watermark, self.generation, self.published) = (*watermark, *generation, *published);
        if self.roster.version != roster.version {
            self.roster = roster.clone();
        }
    }
}
