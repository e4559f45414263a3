//! Making changes to one worker, and what follows from those that cannot be made.

use std::collections::btree_map::Entry;

use super::change::Change;
use super::normalise::Normaliser;
use super::tier_writer::TierWriter;
use crate::event::Worker;
use crate::index::Closed;
use crate::service::doubt::{Doubt, Doubts};
use crate::service::media::Medium;
use crate::service::models::Model;
use crate::service::publisher::{Count, MAX_RANKS, Omitted, Publisher, Skip, TierMap, WorkerRecord, WorkerRecords};
use crate::service::tier::Tier;
use crate::service::wire::{self, Batch};

/// One of a publisher's workers, to which changes are made.
pub(super) struct WorkerFeed<'a> {
    model: &'a Model,
    publisher: &'a Publisher,
    worker: Worker,
    record: &'a mut WorkerRecord,
}

impl<'a> WorkerFeed<'a> {
    /// Begins to change the publisher's worker of this rank, and adds the worker to the index if it is not there yet.
    /// The inner error says why that is not possible.
    pub(super) fn open(
        model: &'a Model,
        publisher: &'a Publisher,
        records: &'a mut WorkerRecords,
        dp_rank: u32,
    ) -> Result<Result<Self, Skip>, Closed> {
        let worker = Worker::new(publisher.worker().id, dp_rank);
        let ranks = records.workers.len();
        let record = match records.workers.entry(dp_rank) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(_) if ranks >= MAX_RANKS => return Ok(Err(Skip::Rank)),
            Entry::Vacant(_) if model.allowance().is_exhausted() => return Ok(Err(Skip::Budget)),
            // Whoever was registered has its room already.
            Entry::Vacant(_) if worker != publisher.worker() && !model.publishers().name_worker() => {
                return Ok(Err(Skip::Workers));
            }
            Entry::Vacant(entry) => {
                let tier_map = records.shared.then(TierMap::default);
                let mut record = Box::new(WorkerRecord { tier_map, ..WorkerRecord::default() });
                TierWriter::new(model.index(), publisher, worker, &mut record, 0).begin()?;
                entry.insert(record)
            }
        };
        publisher.note_rank(dp_rank);
        Ok(Ok(Self { model, publisher, worker, record }))
    }

    /// Returns the writer of the worker's tiers; its events have this id.
    pub(super) fn writer(&mut self, id: u64) -> TierWriter<'_> {
        TierWriter::new(self.model.index(), self.publisher, self.worker, self.record, id)
    }

    /// Takes an event of a batch: normalises it and makes the change, or counts why that is not possible.
    pub(super) fn take(&mut self, batch: &Batch<'_>, event: &wire::Event<'_>, id: u64) -> Result<(), Closed> {
        let mut normaliser = Normaliser {
            hasher: self.model.hasher(),
            media: self.model.media(),
            publishers: self.model.publishers(),
            publisher: self.publisher,
            record: &mut *self.record,
            exhausted: self.model.allowance().is_exhausted(),
        };
        let why = match normaliser.change(batch, event) {
            Ok(change) => return self.make(change, id).map(drop),
            Err(why) => why,
        };
        let tier = |of: wire::Location<'_>| self.model.media().get(of.medium).and_then(Medium::tier);
        match event {
            wire::Event::Stored(stored) => self.omit(tier(stored.location), stored.hashes.of(&batch.columns), why),
            wire::Event::Removed { hashes, location } => {
                self.skip_removal(tier(*location), hashes.of(&batch.columns), why);
            }
            wire::Event::Cleared => self.omit(tier(wire::Location::default()), &[], why),
        }
        Ok(())
    }

    /// Makes a change. Returns how many blocks it names; `None` if the memory budget does not allow it.
    ///
    /// The order matters: doubts that the event ends are settled before it is applied, because applying it may raise
    /// new ones, and a clear ends all doubts only once it is applied.
    pub(super) fn make(&mut self, mut change: Change<'_>, id: u64) -> Result<Option<u64>, Closed> {
        let counts = self.publisher.counts_copies();
        if self.model.allowance().is_exhausted()
            && let Some((tier, hashes)) = stored(&change)
        {
            self.omit(Some(tier), &hashes, Skip::Budget);
            return Ok(None);
        }
        let blocks = count(self.publisher, &change);
        if let Change::Stored { blocks, .. } = &change {
            self.model.allowance().note_stored(self.worker, blocks);
        }
        if let Some(omitted) = self.record.omitted.get_mut(&self.publisher.seat()) {
            let ended = match &mut change {
                Change::Stored { tier, blocks, .. } => {
                    omitted.stored(*tier, blocks.iter().map(|block| block.sequence), counts)
                }
                Change::Removed { tier, hashes } => omitted.removed(Some(*tier), hashes, counts),
                Change::Placed { .. } | Change::Cleared => Doubts::NONE,
            };
            self.publisher.settle_rank(self.worker.dp_rank, ended);
            // All copies that the engine removed had been left out, so the index loses nothing.
            if blocks > 0 && matches!(&change, Change::Removed { hashes, .. } if hashes.is_empty()) {
                return Ok(Some(blocks));
            }
        }
        let placed = if let Change::Placed { tier, .. } = change { Some(tier) } else { None };
        let cleared = change == Change::Cleared;
        let unknown = self.writer(id).apply(change)?;
        match placed {
            Some(_) if !unknown.is_empty() => self.omit(placed, &unknown, Skip::UnknownHash),
            // Removing a block that is not there changes nothing, so there is nothing to doubt.
            _ if !unknown.is_empty() => self.publisher.skip(Skip::UnknownHash),
            _ => {}
        }
        if cleared {
            self.publisher.trust_rank(self.worker.dp_rank);
        }
        Ok(Some(blocks))
    }

    /// Skips an event that stores blocks: the engine has them, and the index will not.
    fn omit(&mut self, tier: Option<Tier>, hashes: &[u64], why: Skip) {
        self.publisher.skip(why);
        if let Some(doubt) = why.doubt() {
            self.publisher.doubt_rank(self.worker.dp_rank, doubt);
            let scarce = self.model.allowance().is_scarce();
            let counts = self.publisher.counts_copies();
            self.omitted().add(tier, hashes, doubt, counts, scarce);
        }
    }

    /// Skips an event that removes blocks. That is harmless if storing them was skipped as well; otherwise the index
    /// may go on naming blocks that are gone.
    fn skip_removal(&mut self, tier: Option<Tier>, hashes: &[u64], why: Skip) {
        self.publisher.skip(why);
        if why.doubt().is_some() {
            if !self.omitted().has_all(tier, hashes) {
                self.publisher.doubt_rank(self.worker.dp_rank, Doubt::UnknownEvent);
            }
            let counts = self.publisher.counts_copies();
            let ended = self.omitted().removed(tier, &mut hashes.into(), counts);
            self.publisher.settle_rank(self.worker.dp_rank, ended);
        }
    }

    /// Returns what this publisher has announced and the index was not given.
    fn omitted(&mut self) -> &mut Omitted {
        self.record.omitted.entry(self.publisher.seat()).or_default()
    }
}

/// Returns the tier and the hashes of blocks that a change stores.
fn stored(change: &Change<'_>) -> Option<(Tier, Vec<u64>)> {
    match change {
        Change::Stored { tier, blocks, .. } => Some((*tier, blocks.iter().map(|block| block.sequence).collect())),
        Change::Placed { tier, hashes } => Some((*tier, hashes.to_vec())),
        Change::Removed { .. } | Change::Cleared => None,
    }
}

/// Counts a change. Returns how many blocks it names.
fn count(publisher: &Publisher, change: &Change<'_>) -> u64 {
    let (kind, blocks) = match change {
        Change::Stored { blocks, .. } => (Count::Stored, blocks.len()),
        Change::Placed { hashes, .. } => (Count::Stored, hashes.len()),
        Change::Removed { hashes, .. } => (Count::Removed, hashes.len()),
        Change::Cleared => (Count::Cleared, 0),
    };
    publisher.add(kind, 1);
    publisher.add(Count::Blocks, blocks as u64);
    blocks as u64
}
