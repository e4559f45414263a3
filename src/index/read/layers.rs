//! The layers of an answer, and how a path through the runs narrows them.

use std::ops::Range;

use super::slot_set::SlotSet;
use crate::index::shared::holders::{Chunk, EMPTY, Holders};

/// Workers of one shard that have equal depth: a range of chunks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) depth: u32,
    pub(super) shard: u32,
    from: usize,
    to: usize,
}

/// The layers of an answer over all shards. A search fills them in, shard by shard.
#[derive(Debug, Default)]
pub(crate) struct Layers {
    pub(super) parts: Vec<Part>,
    chunks: Vec<Chunk>,
    /// The shard of the current search.
    shard: u32,
    /// The workers that hold all of the path so far. Means nothing before the first run: there, everybody does.
    active: SlotSet,
    /// The workers that will be active behind the current run; empty between two calls.
    passing: SlotSet,
    /// Whether the path has come through a run.
    began: bool,
}

impl Layers {
    /// Forgets the last answer.
    pub(super) fn clear(&mut self) {
        self.parts.clear();
        self.chunks.clear();
    }

    /// Begins the search of a shard.
    pub(super) fn begin(&mut self, shard: u32) {
        debug_assert!(self.active.is_empty() && self.passing.is_empty(), "the last search has finished");
        self.shard = shard;
        self.began = false;
    }

    /// Brings the layers into their order, once all shards have been searched.
    pub(super) fn sort(&mut self) {
        // A handful of parts: about one for each run on the path.
        self.parts.sort_unstable_by_key(|part| (std::cmp::Reverse(part.depth), part.shard));
    }

    /// The number of workers in all layers.
    pub(super) fn len(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.bits.count_ones() as usize).sum()
    }

    /// The slots of a part, as ranges of neighbours.
    pub(super) fn slots(&self, part: &Part) -> Neighbours<'_> {
        Neighbours { chunks: self.chunks[part.from..part.to].iter(), rest: Chunk::NONE }
    }

    /// The slots of a part, as words of 64 with their numbers.
    pub(super) fn words(&self, part: &Part) -> impl Iterator<Item = (usize, u64)> {
        self.chunks[part.from..part.to].iter().map(|chunk| (chunk.index as usize, chunk.bits))
    }

    /// Passes the path through a run with these holders, which starts at position `start` and of which the path covers
    /// the first `covered` blocks. Workers that hold less than that end here; the others go on if the path `goes_on`.
    /// Returns whether any worker goes on.
    pub(crate) fn narrow(&mut self, holders: &Holders, start: u32, covered: u32, goes_on: bool) -> bool {
        let mut room = EMPTY;
        for group in holders.groups(&mut room).chunk_by(|a, b| a.cutoff == b.cutoff) {
            let cutoff = group[0].cutoff;
            let from = self.chunks.len();
            for chunk in group.iter().map(|g| g.chunk) {
                let bits = if self.began { self.active.take(chunk) } else { chunk.bits };
                if bits == 0 {
                    continue;
                }
                let chunk = Chunk { bits, ..chunk };
                if goes_on && cutoff >= covered { self.passing.add(chunk) } else { self.chunks.push(chunk) }
            }
            self.part(start + cutoff.min(covered), from);
        }
        // Workers on the path that hold nothing of this run ended where it starts.
        self.finish(start);
        self.began = true;
        std::mem::swap(&mut self.active, &mut self.passing);
        !self.active.is_empty()
    }

    /// Ends the path at `depth`, for all workers that are still on it.
    pub(crate) fn finish(&mut self, depth: u32) {
        let from = self.chunks.len();
        self.chunks.extend(self.active.drain());
        self.part(depth, from);
    }

    fn part(&mut self, depth: u32, from: usize) {
        let to = self.chunks.len();
        if from < to {
            self.parts.push(Part { depth, shard: self.shard, from, to });
        }
    }
}

/// The slots in some chunks, as ranges of neighbours: most sets are either small or nearly everybody.
#[derive(Clone, Debug)]
pub(super) struct Neighbours<'a> {
    chunks: std::slice::Iter<'a, Chunk>,
    /// What is left of the current chunk.
    rest: Chunk,
}

impl Iterator for Neighbours<'_> {
    type Item = Range<usize>;

    #[inline]
    fn next(&mut self) -> Option<Range<usize>> {
        while self.rest.bits == 0 {
            self.rest = *self.chunks.next()?;
        }
        let from = self.rest.bits.trailing_zeros();
        let len = (self.rest.bits >> from).trailing_ones();
        // All ones from `from` on turn to zeros with a carry that falls off the end or hits a zero.
        self.rest.bits &= self.rest.bits.wrapping_add(1 << from);
        let first = (self.rest.index * 64 + from) as usize;
        Some(first..first + len as usize)
    }
}
