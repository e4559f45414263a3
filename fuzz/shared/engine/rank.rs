//! What is to be expected of one rank: which blocks it holds, and how it is doubted.

use std::collections::{BTreeMap, BTreeSet};

use kvleap::service::{Doubt, Exactness};

/// What is to be expected of one rank.
#[derive(Debug, Default)]
pub struct Rank {
    /// Copies of each block by tier, fastest first; the last place is for media that nobody knows.
    pub copies: BTreeMap<(usize, u64), u32>,
    /// Of the blocks in `copies`, those of which a store was left out, and why.
    pub left_out: BTreeMap<(usize, u64), BTreeSet<Doubt>>,
    /// Of the blocks in `copies`, those of which a store was taken.
    pub taken: BTreeSet<(usize, u64)>,
    /// Doubts that only a clear ends.
    pub lasting: BTreeSet<Doubt>,
    /// Everything that was doubted since the last clear.
    pub raised: BTreeSet<Doubt>,
    /// Cache groups with full attention.
    pub groups: BTreeMap<u8, bool>,
}

pub const UNKNOWN_MEDIUM: usize = 3;

impl Rank {
    pub fn add(&mut self, tier: usize, hash: u64, single: bool) {
        let copies = self.copies.entry((tier, hash)).or_default();
        *copies = if single { 1 } else { *copies + 1 };
    }

    /// The block is stored and can be used.
    pub fn take(&mut self, tier: usize, hash: u64, single: bool) {
        self.add(tier, hash, single);
        self.taken.insert((tier, hash));
        if single {
            self.left_out.remove(&(tier, hash));
        }
    }

    pub fn leave_out(&mut self, tier: usize, hash: u64, why: Doubt, single: bool) {
        self.add(tier, hash, single);
        self.left_out.entry((tier, hash)).or_default().insert(why);
        self.raised.insert(why);
    }

    /// A parent that is not there leaves the blocks behind it without a place.
    pub fn needs(&mut self, tier: usize, parent: Option<u64>) {
        if !self.left_out.is_empty() || parent.is_some_and(|parent| !self.has(tier, parent)) {
            self.raised.insert(Doubt::Unplaced);
        }
    }

    pub fn remove(&mut self, tier: usize, hash: u64) {
        let Some(copies) = self.copies.get_mut(&(tier, hash)) else { return };
        *copies -= 1;
        if *copies == 0 {
            self.copies.remove(&(tier, hash));
            self.left_out.remove(&(tier, hash));
            self.taken.remove(&(tier, hash));
        }
    }

    pub fn clear(&mut self) {
        *self = Self { groups: std::mem::take(&mut self.groups), ..Self::default() };
    }

    pub fn doubt(&mut self, doubt: Doubt) {
        self.lasting.insert(doubt);
        self.raised.insert(doubt);
    }

    /// Whether it has a block on a tier or a faster one.
    pub fn has(&self, tier: usize, hash: u64) -> bool {
        (0..=tier).any(|tier| self.copies.contains_key(&(tier, hash)))
    }

    /// Returns the blocks that it has on a tier or a faster one.
    pub fn held(&self, tier: usize) -> BTreeSet<u64> {
        self.copies.keys().filter(|(on, _)| *on <= tier).map(|&(_, hash)| hash).collect()
    }

    /// Checks the doubts about it: every one has a reason, and every reason that is left raises one.
    pub fn judge_doubts(&self, doubts: &BTreeSet<Doubt>) {
        assert!(doubts.is_subset(&self.raised), "{doubts:?} for no reason, {self:?}");
        assert!(doubts.is_superset(&self.lasting), "{doubts:?}, {self:?}");
        for (block, why) in &self.left_out {
            assert!(self.taken.contains(block) || doubts.is_superset(why), "{doubts:?} without {why:?}, {self:?}");
        }
        if self.copies.is_empty() {
            assert_eq!(doubts, &self.lasting, "everything was removed");
        }
    }

    /// Checks what the index holds of it on a tier or a faster one, given the doubts about it.
    pub fn judge_held(&self, tier: usize, held: &BTreeSet<u64>, doubts: &BTreeSet<Doubt>) {
        let truth = self.held(tier);
        assert!(held.is_subset(&truth), "at most what it has, on tier {tier}: {held:?}, {self:?}");
        // What was not understood here said nothing of blocks.
        let lasting = |doubt: &Doubt| self.lasting.contains(doubt) && doubt.kind() == Exactness::Unknown;
        if doubts.iter().all(lasting) {
            assert_eq!(held, &truth, "it is called exact, on tier {tier}: {self:?}");
        }
    }
}
