//! From answers of an index to depths and credits by seat.

use super::fleet::Fleet;
use crate::event::Worker;
use crate::index::Matches;

/// Maps a worker of an answer to a worker of the fleet and one of its tiers.
pub(super) type Split = fn(Worker) -> (Worker, usize);

/// How much of a prompt each worker holds, by seat.
#[derive(Debug)]
pub(super) struct Overlap {
    /// What a block is worth in each tier.
    credits_by_tier: Vec<f32>,
    /// Set if every answer covers all tiers.
    split: Option<Split>,
    /// By answer and shard, the place in `depths` of each slot: within one row, or in all rows if an answer covers all
    /// tiers.
    maps: Vec<Vec<SlotMap>>,
    /// A row for each tier: leading blocks by seat, and one more place at the end, for workers without a seat. After
    /// [`read`](Self::read), the first row has the greatest depth over all tiers.
    depths: Vec<u32>,
    /// What the blocks are worth; as long as a row.
    credits: Vec<f32>,
}

/// The places of a shard's workers, by slot. Slots and seats are reused after their worker has left, so a map is valid
/// for one roster of the shard and one version of the fleet only. Places fit into 32 bits, because more depths would
/// take over 16 GiB.
#[derive(Debug, Default)]
pub(super) struct SlotMap {
    roster: u64,
    fleet: u64,
    /// A multiple of 64, as words of slots are.
    places: Vec<u32>,
}

impl Overlap {
    pub(super) fn new(credits_by_tier: Vec<f32>, split: Option<Split>) -> Self {
        Self { credits_by_tier, split, maps: Vec::new(), depths: Vec::new(), credits: Vec::new() }
    }

    /// The most answers that can be read at a time.
    pub(super) fn max_answers(&self) -> usize {
        if self.split.is_some() { usize::MAX } else { self.credits_by_tier.len() }
    }

    /// Reads the answers: one for each tier, the fastest first, or each with all tiers. `expected` are predicted
    /// depths, which count as the fastest tier's.
    pub(super) fn read(&mut self, fleet: &Fleet, answers: &[&Matches], expected: Option<&[u32]>) {
        let Self { credits_by_tier, split, maps, depths, .. } = self;
        let row = fleet.seats() + 1;
        let tiers = if split.is_some() { credits_by_tier.len() } else { answers.len().max(1) };
        depths.clear();
        depths.resize(tiers * row, 0);
        if maps.len() < answers.len() {
            maps.resize_with(answers.len(), Vec::new);
        }
        if let Some(split) = split {
            let place = |worker| {
                let (worker, tier) = split(worker);
                fleet.seat(worker).filter(|_| tier < tiers).map(|seat| tier * row + seat)
            };
            for (maps, matches) in maps.iter_mut().zip(answers) {
                follow(maps, fleet, matches, place);
                each(maps, matches, |place, depth| {
                    let held = &mut depths[place];
                    *held = depth.max(*held);
                });
            }
        } else {
            for ((maps, matches), depths) in maps.iter_mut().zip(answers).zip(depths.chunks_exact_mut(row)) {
                scatter(maps, fleet, matches, depths);
            }
        }
        for (held, &more) in depths.iter_mut().zip(expected.unwrap_or_default()) {
            *held = more.max(*held);
        }
        self.credit(row);
    }

    /// Leading blocks that are held, by seat.
    pub(super) fn held(&self) -> &[u32] {
        &self.depths[..self.credits.len() - 1]
    }

    /// What these blocks are worth, by seat.
    pub(super) fn credits(&self) -> &[f32] {
        &self.credits[..self.credits.len() - 1]
    }

    /// Adds up the tiers: a block counts with the credit of the fastest tier that has it. `row` is the length of a row.
    fn credit(&mut self, row: usize) {
        let (held, slower) = self.depths.split_at_mut(row);
        let fastest = self.credits_by_tier[0];
        self.credits.resize(row, 0.0);
        for (sum, &held) in self.credits.iter_mut().zip(&*held) {
            // Through `i32`, because processors have an instruction for that conversion.
            *sum = fastest * held.cast_signed() as f32;
        }
        for (&credit, depths) in self.credits_by_tier[1..].iter().zip(slower.chunks_exact(row)) {
            for ((held, &deeper), sum) in held.iter_mut().zip(depths).zip(&mut self.credits) {
                let deepest = deeper.max(*held);
                *sum += credit * (deepest - *held).cast_signed() as f32;
                *held = deepest;
            }
        }
    }
}

/// Writes the depth of every worker in the answer to its seat. `depths` has one more place than there are seats.
pub(super) fn scatter(maps: &mut Vec<SlotMap>, fleet: &Fleet, matches: &Matches, depths: &mut [u32]) {
    follow(maps, fleet, matches, |worker| fleet.seat(worker));
    each(maps, matches, |seat, depth| depths[seat] = depth);
}

/// Updates the maps to the rosters of the answer and the fleet. Workers without a place share the one after the last
/// seat, which nobody reads, so that writing depths needs no branch.
fn follow(maps: &mut Vec<SlotMap>, fleet: &Fleet, matches: &Matches, place: impl Fn(Worker) -> Option<usize>) {
    let nobody = fleet.seats();
    for (shard, (roster, workers)) in matches.rosters().enumerate() {
        if shard == maps.len() {
            maps.push(SlotMap::default());
        }
        let map = &mut maps[shard];
        if (map.roster, map.fleet) != (roster, fleet.version()) {
            map.places.clear();
            map.places.extend(workers.iter().map(|&worker| place(worker).unwrap_or(nobody) as u32));
            map.places.resize(workers.len().next_multiple_of(64), nobody as u32);
            (map.roster, map.fleet) = (roster, fleet.version());
        }
    }
}

/// Calls `write` with the place and the depth of every worker in the answer.
fn each(maps: &[SlotMap], matches: &Matches, mut write: impl FnMut(usize, u32)) {
    for (depth, shard, words) in matches.parts() {
        let (places, _) = maps[shard as usize].places.as_chunks::<64>();
        for (index, mut bits) in words {
            let places = &places[index];
            // Where everybody holds a prompt, most words are full.
            if bits == u64::MAX {
                for &place in places {
                    write(place as usize, depth);
                }
                continue;
            }
            while bits != 0 {
                write(places[bits.trailing_zeros() as usize] as usize, depth);
                bits &= bits - 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Block, Event, EventData};
    use crate::index::Index;

    /// The host tier of a worker has the upper bit.
    fn split(worker: Worker) -> (Worker, usize) {
        (Worker::new(worker.id, worker.dp_rank & 0xff), (worker.dp_rank >> 8) as usize)
    }

    #[test]
    fn a_warm_decision_takes_no_more_memory() {
        let (mut writer, reader) = Index::builder().build_local().expect("valid settings");
        let mut fleet = Fleet::new(16, u32::MAX);
        for id in 0..100 {
            let worker = Worker::new(id, 0);
            fleet.add(worker).expect("it is new");
            for worker in [worker, Worker::new(id, 1 << 8), Worker::new(id, 2 << 8)] {
                let blocks = vec![Block { sequence: 1, local: 1 }];
                let data = EventData::Stored { parent: None, blocks };
                writer.apply(&Event { worker, id: 0, data }).expect("well-formed");
            }
        }
        writer.publish();
        let mut matches = Matches::new();
        reader.find(&[1], &mut matches);
        let mut overlap = Overlap::new(vec![1.0, 0.5], Some(split));
        let room = |it: &Overlap| {
            let maps = it.maps.iter().flatten().map(|map| (map.places.as_ptr(), map.places.capacity()));
            let vectors = (it.maps.as_ptr(), it.depths.as_ptr(), it.credits.as_ptr());
            let capacities = (it.maps.capacity(), it.depths.capacity(), it.credits.capacity());
            (maps.collect::<Vec<_>>(), vectors, capacities)
        };
        overlap.read(&fleet, &[&matches, &matches], None);
        let warm = room(&overlap);
        for answers in [&[&matches][..], &[], &[&matches, &matches]] {
            overlap.read(&fleet, answers, None);
            assert_eq!(room(&overlap), warm);
        }
        assert_eq!(overlap.held(), [1; 100]);
    }
}
