//! Which blocks were stored least recently.
//!
//! This is least-recently-used eviction from the leaves of a prefix tree, as in the radix cache of `SGLang`. What
//! differs is that recency is that of storing, because the service is not told when an engine uses a block again.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};

use crate::event::{Block, Event, EventData};

/// A block of an export.
#[derive(Clone, Copy, Debug)]
struct Held {
    sequence: u64,
    /// Whether the export stores it only to fill a hole, and removes it at the end.
    hole: bool,
    parent: Option<usize>,
    /// When it or the newest block behind it was stored, counted from 1; 0 is before all that is remembered.
    recency: usize,
    depth: u32,
}

/// Returns the sequence hashes of the blocks to forget first: a share of an export in thousandths, rounded up. The ends
/// of sequences come before what they continue.
pub(super) fn least_recent(export: &[Event], recent: Option<&VecDeque<u64>>, thousandths: usize) -> Vec<u64> {
    let recency: HashMap<u64, usize> = recent.into_iter().flatten().copied().zip(1..).collect();
    let mut places: HashMap<u64, usize> = HashMap::new();
    let mut blocks: Vec<Held> = Vec::new();
    for event in export {
        match &event.data {
            EventData::Stored { parent, blocks: stored } => {
                let mut parent = parent.and_then(|parent| places.get(&parent).copied());
                for &Block { sequence, .. } in stored {
                    if let Some(&place) = places.get(&sequence) {
                        // One more copy of a block that is known.
                        parent = Some(place);
                        continue;
                    }
                    let depth = parent.map_or(0, |parent| blocks[parent].depth + 1);
                    let recency = recency.get(&sequence).copied().unwrap_or(0);
                    places.insert(sequence, blocks.len());
                    blocks.push(Held { sequence, hole: false, parent, recency, depth });
                    parent = places.get(&sequence).copied();
                }
            }
            EventData::Removed { blocks: holes } => {
                for place in holes.iter().filter_map(|hole| places.get(hole)) {
                    blocks[*place].hole = true;
                }
            }
            EventData::Cleared | EventData::WorkerAdded | EventData::WorkerRemoved | EventData::CopiesCounted => {}
        }
    }
    // In an export, a block comes after its parent: walking back, each block has its final recency before its parent
    // needs it.
    for place in (0..blocks.len()).rev() {
        let Held { parent, recency, .. } = blocks[place];
        if let Some(parent) = parent {
            blocks[parent].recency = blocks[parent].recency.max(recency);
        }
    }
    blocks.retain(|block| !block.hole);
    let count = (blocks.len() * thousandths).div_ceil(1000);
    blocks.sort_by_key(|block| (block.recency, Reverse(block.depth)));
    blocks[..count].iter().map(|block| block.sequence).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Worker;

    const A: Worker = Worker::new(1, 0);

    fn stored(parent: Option<u64>, names: std::ops::Range<u64>) -> Event {
        let blocks = names.map(|name| Block { sequence: name, local: name }).collect();
        Event { worker: A, id: 1, data: EventData::Stored { parent, blocks } }
    }

    /// A system prompt, 0 to 9, and three conversations under it, the oldest first.
    fn conversations() -> Vec<Event> {
        vec![stored(None, 0..10), stored(Some(9), 100..105), stored(Some(9), 200..205), stored(Some(9), 300..305)]
    }

    #[test]
    fn what_was_stored_least_recently_goes_from_its_end() {
        let order: VecDeque<u64> = (0..10).chain(200..205).chain(300..305).chain(100..105).collect();
        let go = |thousandths| least_recent(&conversations(), Some(&order), thousandths);
        assert_eq!(go(0), [0_u64; 0]);
        assert_eq!(go(100), [200, 201, 202].map(|name: u64| 404 - name), "the end of the second, tail first");
        assert_eq!(go(400), [204, 203, 202, 201, 200, 304, 303, 302, 301, 300]);
        assert_eq!(go(600)[10..], [104, 103, 102, 101, 100], "what others continue goes last");
        assert_eq!(go(1000).len(), 25);
    }

    #[test]
    fn a_block_goes_once_however_many_copies_there_are() {
        let mut blocks = conversations();
        blocks.push(Event { worker: A, id: 1, data: EventData::CopiesCounted });
        blocks.extend([stored(Some(102), 103..104), stored(Some(103), 104..105), stored(Some(102), 103..104)]);
        blocks.push(stored(Some(104), 105..106));
        assert_eq!(least_recent(&blocks, None, 1000).len(), 26);
        let order: VecDeque<u64> = (200..205).chain(300..305).chain(0..10).chain(100..106).collect();
        assert_eq!(least_recent(&blocks, Some(&order), 1000)[10..16], [105, 104, 103, 102, 101, 100]);
    }

    #[test]
    fn what_is_not_remembered_is_oldest_and_goes_from_the_deepest() {
        let order: VecDeque<u64> = (300..305).collect();
        let mut blocks = conversations();
        blocks.push(stored(Some(104), 105..108));
        assert_eq!(
            least_recent(&blocks, Some(&order), 200),
            [107, 106, 105, 104, 204, 103],
            "a fifth of 28, rounded up"
        );
        assert_eq!(least_recent(&blocks, None, 40), [107, 106]);
    }
}
