//! What is doubted about the workers of one publisher.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::service::doubt::{Doubt, Doubts};

/// What is doubted about the workers of one publisher, by data-parallel rank. The connection's own doubts are not part
/// of it: they last as long as its state does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RankDoubts {
    /// About the ranks that its batches named.
    named: BTreeMap<u32, Doubts>,
    /// About any rank that they may name later.
    others: Doubts,
}

/// How many ranks a doubt may name. Ranks that have blocks are bounded elsewhere.
const MOST: usize = 1 << 14;

impl RankDoubts {
    /// Returns the ranks that the publisher speaks for, ascending: those that its batches named, or the `registered`
    /// one before the first batch.
    pub(super) fn by_rank(&self, registered: u32) -> impl Iterator<Item = (u32, Doubts)> {
        let unnamed = self.named.is_empty().then_some((registered, self.others));
        self.named.iter().map(|(&rank, &doubts)| (rank, doubts)).chain(unnamed)
    }

    /// Whether nothing is doubted about the ranks that it speaks for.
    pub(super) fn is_empty(&self) -> bool {
        self.by_rank(0).all(|(_, doubts)| doubts.is_empty())
    }

    /// Whether its batches have named a rank.
    pub(super) fn has_named(&self) -> bool {
        !self.named.is_empty()
    }

    /// Adds a rank that its batches name.
    pub(super) fn name(&mut self, rank: u32) {
        self.named.entry(rank).or_insert(self.others);
    }

    /// Removes a rank that it does not speak for any more.
    pub(super) fn drop_rank(&mut self, rank: u32) {
        self.named.remove(&rank);
    }

    /// Raises a doubt about all ranks.
    pub(in crate::service) fn raise(&mut self, doubt: Doubt) {
        self.change(|doubts| *doubts = doubts.and(doubt.into()));
    }

    /// Raises a doubt about one rank. If too many were named, it is about all of them.
    pub(in crate::service) fn raise_for(&mut self, rank: u32, doubt: Doubt) {
        if self.named.len() >= MOST && !self.named.contains_key(&rank) {
            return self.raise(doubt);
        }
        let doubts = self.named.entry(rank).or_insert(self.others);
        *doubts = doubts.and(doubt.into());
    }

    /// Ends a doubt about all ranks.
    pub(super) fn settle(&mut self, doubt: Doubt) {
        self.change(|doubts| *doubts = doubts.without(doubt.into()));
    }

    /// Ends these doubts about one rank.
    pub(super) fn settle_for(&mut self, rank: u32, ended: Doubts) {
        if let Some(doubts) = self.named.get_mut(&rank) {
            *doubts = doubts.without(ended);
        }
    }

    /// Ends all doubts about all ranks.
    pub(super) fn settle_all(&mut self) {
        self.change(|doubts| *doubts = Doubts::NONE);
    }

    /// Ends all doubts about one rank. Returns whether it is the only one that was named.
    pub(super) fn settle_all_for(&mut self, rank: u32) -> bool {
        self.named.insert(rank, Doubts::NONE);
        self.named.len() == 1
    }

    fn change(&mut self, mut change: impl FnMut(&mut Doubts)) {
        self.named.values_mut().for_each(&mut change);
        change(&mut self.others);
    }
}
