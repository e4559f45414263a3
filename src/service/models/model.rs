//! One index, and what the service keeps around it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError};

use super::allowance::Allowance;
use super::key::Key;
use super::publishers::Publishers;
use crate::event::Worker;
use crate::hash::BlockHasher;
use crate::index::{Index, Matches};
use crate::service::doubt::{Doubt, Doubts};
use crate::service::media::Media;
use crate::service::tier::Tier;

/// One index, and what the service keeps around it.
#[derive(Debug)]
pub struct Model {
    key: Key,
    hasher: BlockHasher,
    media: Arc<Media>,
    index: Index,
    publishers: Publishers,
    allowance: Allowance,
    gate: RwLock<()>,
    tokens_asked: AtomicU64,
    tokens_found: AtomicU64,
}

impl Model {
    pub(super) fn new(key: Key, hasher: BlockHasher, media: Arc<Media>, index: Index, publishers: Publishers) -> Self {
        let (allowance, gate, tokens_asked, tokens_found) = Default::default();
        Self { key, hasher, media, index, publishers, allowance, gate, tokens_asked, tokens_found }
    }

    /// Returns what it is for.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Returns the number of tokens in a block, at least 1.
    pub fn block_size(&self) -> u32 {
        self.hasher.block_size()
    }

    /// Returns the hasher of its prompts, without adapter and namespace.
    pub fn hasher(&self) -> BlockHasher {
        self.hasher
    }

    /// Returns the names that engines have for the storage of their blocks.
    pub fn media(&self) -> &Media {
        &self.media
    }

    /// Returns the index itself.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Returns the publishers of its workers.
    pub fn publishers(&self) -> &Publishers {
        &self.publishers
    }

    /// Returns the workers about which answers may not be exact, and why, sorted by worker. Waits for nobody.
    pub fn doubts(&self) -> Vec<(Worker, Doubts)> {
        // Every answer names the workers of which the index left blocks out, even the answer to an empty query.
        let mut nothing = Matches::new();
        self.index.find(&[], &mut nothing);
        self.doubts_about(&nothing)
    }

    /// Like [`Model::doubts`], as of this answer.
    pub fn doubts_about(&self, matches: &Matches) -> Vec<(Worker, Doubts)> {
        let unplaced = matches.incomplete().map(|worker| (Tier::split(worker).0, Doubt::Unplaced.into()));
        self.publishers.doubts(unplaced.chain(self.unfollowed()))
    }

    /// Returns the workers whose events nobody applies any more, because a writer has died: answers about them stay as
    /// they are. Takes no lock while all writers run.
    fn unfollowed(&self) -> Vec<(Worker, Doubts)> {
        if self.index.is_alive() {
            return Vec::new();
        }
        let publishers = self.publishers.all();
        let workers = publishers.iter().flat_map(|publisher| publisher.workers());
        let unfollowed =
            workers.filter(|&worker| Tier::ALL.iter().any(|tier| !self.index.follows(tier.worker(worker))));
        unfollowed.map(|worker| (worker, Doubt::Failure.into())).collect()
    }

    /// Counts a prompt of this many whole blocks, of which the worker with the longest match holds so many.
    pub(in crate::service) fn count_lookup(&self, blocks: usize, found: u32) {
        let tokens = |blocks: u64| blocks * u64::from(self.block_size());
        self.tokens_asked.fetch_add(tokens(blocks as u64), Relaxed);
        self.tokens_found.fetch_add(tokens(found.into()), Relaxed);
    }

    /// Returns how many tokens prompts had that were looked up, in whole blocks.
    pub(in crate::service) fn tokens_asked(&self) -> u64 {
        self.tokens_asked.load(Relaxed)
    }

    /// Returns how many of these tokens the worker with the longest match held.
    pub(in crate::service) fn tokens_found(&self) -> u64 {
        self.tokens_found.load(Relaxed)
    }

    /// Returns what the memory budget allows it.
    pub(in crate::service) fn allowance(&self) -> &Allowance {
        &self.allowance
    }

    /// Locks out [`at_rest`](Self::at_rest). Held while a batch is handed over, so that exports see whole batches.
    pub fn applying(&self) -> RwLockReadGuard<'_, ()> {
        self.gate.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether [`at_rest`](Self::at_rest) is held, so that handing a batch over would wait.
    pub(in crate::service) fn is_at_rest(&self) -> bool {
        matches!(self.gate.try_read(), Err(TryLockError::WouldBlock))
    }

    /// Waits until no batch is being handed over, and keeps it so: while this is held, the index is between two
    /// batches.
    pub fn at_rest(&self) -> RwLockWriteGuard<'_, ()> {
        self.gate.write().unwrap_or_else(PoisonError::into_inner)
    }
}
