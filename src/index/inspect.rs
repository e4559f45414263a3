//! The inside of a shard as plain data, for figures.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::read::matches::Matches;
use super::read::search::Witness;
use super::read::snapshot::Head;
use super::reader::Reader;
use super::shared::holders::{EMPTY, Slot};
use super::writer::Writer;
use crate::event::Worker;

/// A run: a chain of blocks that is kept as one position array.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The position of its first block.
    pub start: u32,
    /// Blocks in its array.
    pub len: u32,
    /// The run that it hangs off, by its number in the list; `None` where a sequence begins. It hangs off the block
    /// before [`start`](Self::start).
    pub parent: Option<usize>,
    /// Which workers hold how much of it, most first.
    pub holdings: Vec<Holding>,
}

/// Workers that hold equally many leading blocks of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// How many leading blocks of the run they hold.
    pub cutoff: u32,
    /// Their ids and ranks, ascending.
    pub workers: Vec<(u64, u32)>,
}

/// A place at which a lookup looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// The position of the block of the query that the probe was about.
    pub position: u32,
    /// Where the lookup looked, and what it found.
    pub found: Found,
}

/// What a probe found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Found {
    /// In the table of heads, a run that begins with the query's prefix.
    Head,
    /// Nothing in the table of heads.
    NoHead,
    /// In a run's array, the query's prefix.
    Same,
    /// In a run's array, another prefix.
    Other,
}

impl Writer {
    /// Returns all runs as of the events applied so far, in the order of their positions, so parents come before their
    /// children. Equal seeds give equal orders. Blocks beyond holes are left out. Takes time in proportion to the square
    /// of the number of runs.
    pub fn structure(&self) -> Vec<Run> {
        let runs = self.shard.runs();
        let names: HashMap<Slot, Worker> = self.shard.slots().map(|(worker, slot)| (slot, worker)).collect();
        // Runs with their own first prefix hash and that of their parent.
        let mut all: Vec<_> = runs
            .iter()
            .map(|run| (run.prefixes.get(0), run.parent.map(|place| runs.get(place.run).prefixes.get(0)), run))
            .collect();
        all.sort_by_key(|&(key, _, run)| (run.start, key));
        let number = |key: u64| all.iter().position(|&(own, ..)| own == key);
        let described = all.iter().map(|(_, parent, run)| {
            let mut room = EMPTY;
            let groups = run.holders.groups(&mut room).chunk_by(|a, b| a.cutoff == b.cutoff);
            let holdings = groups.map(|group| {
                let bits = group.iter().flat_map(|group| {
                    (0..64).filter(|bit| group.chunk.bits >> bit & 1 == 1).map(|bit| group.chunk.index * 64 + bit)
                });
                let mut workers: Vec<Worker> = bits.map(|slot| names[&slot]).collect();
                workers.sort_unstable();
                let workers = workers.into_iter().map(|worker| (worker.id, worker.dp_rank)).collect();
                Holding { cutoff: group[0].cutoff, workers }
            });
            Run { start: run.start, len: run.len, parent: parent.and_then(number), holdings: holdings.collect() }
        });
        described.collect()
    }
}

impl Reader {
    /// Looks up as [`find`](Self::find) does, and returns every place that was looked at, in order.
    pub fn probes(&self, hashes: &[u64], matches: &mut Matches) -> Vec<Probe> {
        matches.reset(1);
        let probes = self.lookup(&self.cell.load()).find_before(hashes, matches, Vec::new());
        matches.sort();
        probes
    }
}

impl Witness for Vec<Probe> {
    fn head<'a>(&mut self, position: u32, found: Option<&'a Head>) -> Option<&'a Head> {
        self.push(Probe { position, found: if found.is_some() { Found::Head } else { Found::NoHead } });
        found
    }

    fn slot(&mut self, position: u32, agrees: bool) -> bool {
        self.push(Probe { position, found: if agrees { Found::Same } else { Found::Other } });
        agrees
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Block, Event, EventData};
    use crate::index::Builder;

    fn store(writer: &mut Writer, id: u64, locals: &[u64]) {
        let blocks = (1..).zip(locals).map(|(sequence, &local)| Block { sequence, local }).collect();
        let data = EventData::Stored { parent: None, blocks };
        writer.apply(&Event { worker: Worker::new(id, 0), id: 1, data }).expect("well-formed");
        writer.publish();
    }

    #[test]
    fn runs_are_told_with_their_parents_and_holders() {
        let (mut writer, _) = Builder::default().seed(1).build_local().expect("valid settings");
        store(&mut writer, 7, &[1, 2, 3, 4]);
        store(&mut writer, 8, &[1, 2, 9]);
        store(&mut writer, 9, &[1, 2]);
        let holding =
            |cutoff, workers: &[u64]| Holding { cutoff, workers: workers.iter().map(|&id| (id, 0)).collect() };
        let root = Run { start: 0, len: 4, parent: None, holdings: vec![holding(4, &[7]), holding(2, &[8, 9])] };
        let child = Run { start: 2, len: 1, parent: Some(0), holdings: vec![holding(1, &[8])] };
        assert_eq!(writer.structure(), [root, child]);
    }

    #[test]
    fn a_watched_lookup_answers_as_any_and_tells_where_it_looked() {
        let (mut writer, reader) = Builder::default().seed(1).build_local().expect("valid settings");
        let all: Vec<u64> = (0..100).collect();
        store(&mut writer, 7, &all);
        store(&mut writer, 8, &[&all[..50], &[1000, 1001]].concat());
        let mut matches = Matches::new();
        let probe = |position, found| Probe { position, found };
        // Not the child's at the branch point, and equal to the end.
        let probes = reader.probes(&all, &mut matches);
        assert_eq!(
            probes,
            [probe(0, Found::Head), probe(50, Found::NoHead), probe(50, Found::Same), probe(99, Found::Same)]
        );
        assert_eq!(matches.depth(Worker::new(7, 0)), 100);
        let probes = reader.probes(&[&all[..50], &[1000, 5]].concat(), &mut matches);
        assert_eq!(probes[..2], [probe(0, Found::Head), probe(50, Found::Head)]);
        assert_eq!(matches.depth(Worker::new(8, 0)), 51);
    }
}
