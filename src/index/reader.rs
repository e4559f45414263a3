//! The reading half of a shard: lookups in the current snapshot.

use std::sync::Arc;

use super::publish::SwapCell;
use super::read::matches::Matches;
use super::read::search::Lookup;
use super::read::snapshot::Snapshot;
use super::shared::prefix::PrefixHasher;
use super::writer::Writer;

/// The reading half of a shard, for lookups without a lock. Cheap to clone, to send and to share.
#[derive(Clone, Debug)]
pub struct Reader {
    pub(super) cell: Arc<SwapCell<Snapshot>>,
    pub(super) hasher: PrefixHasher,
    pub(super) stride: u32,
}

impl Reader {
    pub(crate) fn new(writer: &Writer, hasher: PrefixHasher, stride: u32) -> Self {
        Self { cell: writer.cell().clone(), hasher, stride }
    }

    /// Finds which workers hold how much of the prompt with these local hashes. See [`Index::find`](crate::Index::find).
    pub fn find(&self, hashes: &[u64], matches: &mut Matches) {
        matches.reset(1);
        self.lookup(&self.cell.load()).find(hashes, matches);
        matches.sort();
    }

    /// Finds which workers hold how much of each of these prompts. See [`Index::find_many`](crate::Index::find_many).
    pub fn find_many<'m>(&self, queries: &[impl AsRef<[u64]>], buffer: &'m mut Vec<Matches>) -> &'m [Matches] {
        let answers = Matches::reset_many(buffer, queries.len(), 1);
        self.lookup(&self.cell.load()).find_many(queries, answers);
        answers.iter_mut().for_each(Matches::sort);
        answers
    }

    pub(super) fn lookup<'a>(&'a self, snapshot: &'a Snapshot) -> Lookup<'a> {
        Lookup { snapshot, shard: 0, hasher: &self.hasher, stride: self.stride }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Block, Event, EventData, Worker};
    use crate::index::Builder;

    const A: Worker = Worker::new(1, 0);

    fn store(writer: &mut Writer, parent: Option<u64>, names: std::ops::Range<u64>) {
        let blocks = names.map(|name| Block { sequence: name, local: name }).collect();
        let event = Event { worker: A, id: 0, data: EventData::Stored { parent, blocks } };
        writer.apply(&event).expect("well-formed");
        writer.publish();
    }

    fn evict(writer: &mut Writer, names: std::ops::Range<u64>) {
        let event = Event { worker: A, id: 0, data: EventData::Removed { blocks: names.rev().collect() } };
        writer.apply(&event).expect("well-formed");
        writer.publish();
    }

    /// A run is trimmed and grows again, differently, in the same places, a thousand times.
    #[test]
    fn a_held_snapshot_does_not_change_and_others_see_the_newest() {
        let (mut writer, reader) = Builder::default().seed(1).build_local().expect("valid settings");
        let mut matches = Matches::new();
        store(&mut writer, None, 1..1001);
        let cell = writer.cell().clone();
        let held = cell.load();
        evict(&mut writer, 11..1001);
        for round in 1..1000 {
            let other = round * 1000..round * 1000 + 50;
            store(&mut writer, Some(10), other.clone());
            let query: Vec<u64> = (1..11).chain(other.clone()).collect();
            reader.find(&query, &mut matches);
            assert_eq!(matches.depth(A), 60);
            evict(&mut writer, other);
            reader.find(&query, &mut matches);
            assert_eq!(matches.depth(A), 10);
        }
        evict(&mut writer, 1..11);
        for len in [1, 10, 11, 40, 60, 61, 999, 1000] {
            let query: Vec<u64> = (1..=len).collect();
            matches.reset(1);
            reader.lookup(&held).find(&query, &mut matches);
            matches.sort();
            assert_eq!(u64::from(matches.depth(A)), len);
        }
        assert_eq!(matches.watermarks().next().map(|mark| mark.events), Some(1));
    }
}
