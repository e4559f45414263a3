//! From answers of an index to figures by seat.

use super::fleet::Fleet;
use crate::Matches;

/// How much of a prompt each worker has, by seat.
#[derive(Debug)]
pub(super) struct Overlap {
    /// What a block is worth in each tier.
    credits_by_tier: Vec<f32>,
    /// By tier and shard: from the slots of answers to seats.
    maps: Vec<Vec<SlotMap>>,
    /// By seat: leading blocks in the tiers so far. One more at the end, for workers that have no seat.
    held: Vec<u32>,
    /// By seat: the same in the tier at hand and those before it.
    tier: Vec<u32>,
    credits: Vec<f32>,
}

/// The seats of a shard's workers, by slot. A slot is given again after its worker left, and so is a seat: the map is
/// good for one roster of the shard and one version of the fleet.
#[derive(Debug, Default)]
pub(super) struct SlotMap {
    roster: u64,
    fleet: u64,
    seats: Vec<u32>,
}

impl Overlap {
    pub(super) fn new(credits_by_tier: Vec<f32>) -> Self {
        let maps = credits_by_tier.iter().map(|_| Vec::new()).collect();
        Self { credits_by_tier, maps, held: Vec::new(), tier: Vec::new(), credits: Vec::new() }
    }

    /// How many tiers there are.
    pub(super) fn tiers(&self) -> usize {
        self.credits_by_tier.len()
    }

    /// Reads the answers, one a tier, the fastest first. `expected` is what the fastest is thought to hold on top of
    /// its answer.
    pub(super) fn read(&mut self, fleet: &Fleet, tiers: &[&Matches], expected: Option<&[u32]>) {
        self.held.clear();
        self.held.resize(fleet.seats() + 1, 0);
        if let Some((&fastest, slower)) = tiers.split_first() {
            scatter(&mut self.maps[0], fleet, fastest, &mut self.held);
            self.raise(expected);
            self.credit_fastest();
            for (tier, &matches) in (1..).zip(slower) {
                self.tier.clear();
                self.tier.resize(fleet.seats() + 1, 0);
                scatter(&mut self.maps[tier], fleet, matches, &mut self.tier);
                let credit = self.credits_by_tier[tier];
                for ((held, &deeper), sum) in self.held.iter_mut().zip(&self.tier).zip(&mut self.credits) {
                    *sum += credit * deeper.saturating_sub(*held) as f32;
                    *held = deeper.max(*held);
                }
            }
        } else {
            self.raise(expected);
            self.credit_fastest();
        }
    }

    /// Leading blocks, by seat.
    pub(super) fn held(&self) -> &[u32] {
        &self.held[..self.held.len() - 1]
    }

    /// What they are worth, by seat.
    pub(super) fn credits(&self) -> &[f32] {
        &self.credits[..self.credits.len() - 1]
    }

    fn raise(&mut self, expected: Option<&[u32]>) {
        for (held, &more) in self.held.iter_mut().zip(expected.unwrap_or_default()) {
            *held = more.max(*held);
        }
    }

    fn credit_fastest(&mut self) {
        let credit = self.credits_by_tier[0];
        self.credits.resize(self.held.len(), 0.0);
        for (credits, &held) in self.credits.iter_mut().zip(&self.held) {
            // By way of `i32`, for which processors have an instruction.
            *credits = credit * held.cast_signed() as f32;
        }
    }
}

/// Writes the depth of every worker in the answer to its seat. `depths` has one more than there are seats.
pub(super) fn scatter(maps: &mut Vec<SlotMap>, fleet: &Fleet, matches: &Matches, depths: &mut [u32]) {
    let nobody = fleet.seats() as u32;
    for (shard, (roster, workers)) in matches.rosters().enumerate() {
        if shard == maps.len() {
            maps.push(SlotMap::default());
        }
        let map = &mut maps[shard];
        if (map.roster, map.fleet) != (roster, fleet.version()) {
            map.seats.clear();
            map.seats.extend(workers.iter().map(|&worker| fleet.seat(worker).map_or(nobody, |seat| seat as u32)));
            (map.roster, map.fleet) = (roster, fleet.version());
        }
    }
    for (depth, shard, neighbours) in matches.parts() {
        let seats = &maps[shard as usize].seats;
        for slots in neighbours {
            for &seat in &seats[slots] {
                depths[seat as usize] = depth;
            }
        }
    }
}
