//! Random events and queries, from alphabets so small that hashes, prefixes and names repeat all the time.

use kvleap::{Block, Event, EventData, Matches, Worker};
use proptest::prelude::*;

/// The ranges that random events are drawn from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) workers: u64,
    /// Sequence hashes per worker.
    pub(crate) sequences: u64,
    /// Local hashes.
    pub(crate) locals: u64,
    /// Blocks per event.
    pub(crate) blocks: usize,
}

/// Short sequences over few local hashes, so that prefixes are often shared, twinned, moved and torn.
pub(crate) const DENSE: Shape = Shape { workers: 5, sequences: 24, locals: 2, blocks: 5 };
/// Sequences longer than a stride, mostly of equal blocks.
pub(crate) const LONG: Shape = Shape { workers: 4, sequences: 400, locals: 2, blocks: 60 };
/// Sequences of medium length that are hardly ever the same, so that there are many runs.
pub(crate) const SPREAD: Shape = Shape { workers: 6, sequences: 60, locals: 5, blocks: 12 };

fn local(shape: Shape) -> impl Strategy<Value = u64> {
    prop_oneof![3 => Just(0u64), 2 => 0..shape.locals, 1 => Just(u64::MAX)]
}

fn data(shape: Shape) -> impl Strategy<Value = EventData> {
    let fresh = prop::collection::vec((0..shape.sequences, local(shape)), 0..=shape.blocks);
    // Consecutive sequence hashes, so that stores extend one another as those of a real engine do.
    let chain = (0..shape.sequences, prop::collection::vec(local(shape), 1..=shape.blocks));
    let parent = prop::option::weighted(0.7, 0..shape.sequences);
    let blocks = |list: Vec<(u64, u64)>| list.into_iter().map(|(sequence, local)| Block { sequence, local }).collect();
    prop_oneof![
        8 => (parent, fresh).prop_map(move |(parent, list)| EventData::Stored { parent, blocks: blocks(list) }),
        16 => chain.prop_map(|(first, locals)| EventData::Stored {
            parent: first.checked_sub(1),
            blocks: (first..).zip(locals).map(|(sequence, local)| Block { sequence, local }).collect(),
        }),
        10 => prop::collection::vec(0..shape.sequences, 0..=shape.blocks)
            .prop_map(|blocks| EventData::Removed { blocks }),
        // Caches evict a sequence tail first.
        6 => (0..shape.sequences, 1..=shape.blocks as u64)
            .prop_map(|(last, n)| EventData::Removed { blocks: (last.saturating_sub(n)..=last).rev().collect() }),
        1 => Just(EventData::Cleared),
        1 => Just(EventData::WorkerRemoved),
        2 => Just(EventData::WorkerAdded),
        2 => Just(EventData::CopiesCounted),
    ]
}

pub(crate) fn event(shape: Shape) -> impl Strategy<Value = Event> {
    (0..shape.workers, 0..2u32, any::<u8>(), data(shape)).prop_map(|(id, rank, event_id, data)| Event {
        worker: Worker::new(id, rank),
        id: event_id.into(),
        data,
    })
}

pub(crate) fn events(shape: Shape, most: usize) -> impl Strategy<Value = Vec<Event>> {
    stream(shape, 0..most)
}

/// Draws a number of events. Some repeat earlier ones, like those of engines that announce every copy of a block.
pub(crate) fn stream(shape: Shape, count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Event>> {
    let again = prop::option::weighted(0.15, any::<prop::sample::Index>());
    prop::collection::vec((event(shape), again), count).prop_map(|list| {
        let mut events: Vec<Event> = Vec::with_capacity(list.len());
        for (event, again) in list {
            let again = again.filter(|_| !events.is_empty()).map(|index| index.get(&events).clone());
            events.push(again.unwrap_or(event));
        }
        events
    })
}

pub(crate) fn query(shape: Shape) -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(local(shape), 0..shape.blocks * 3)
}

pub(crate) fn queries(shape: Shape) -> impl Strategy<Value = Vec<Vec<u64>>> {
    prop::collection::vec(query(shape), 1..30)
}

/// Returns the chain of local hashes from the root to the end of each store, which are queries with long matches.
pub(crate) fn spelled(events: &[Event]) -> Vec<Vec<u64>> {
    let mut known: Vec<((Worker, u64), Vec<u64>)> = Vec::new();
    let mut paths = Vec::new();
    for event in events {
        if let EventData::Stored { parent, blocks } = &event.data {
            let mut path = match parent {
                None => Vec::new(),
                Some(p) => {
                    known.iter().rev().find(|k| k.0 == (event.worker, *p)).map(|k| k.1.clone()).unwrap_or_default()
                }
            };
            for block in blocks {
                path.push(block.local);
                known.push(((event.worker, block.sequence), path.clone()));
            }
            paths.push(path);
        }
    }
    paths
}

/// Returns the incomplete workers that an answer names, in the order that the reference uses.
pub(crate) fn incomplete(matches: &Matches) -> Vec<Worker> {
    let mut list: Vec<_> = matches.incomplete().collect();
    list.sort_unstable();
    list
}

/// Returns an answer in the order that the reference uses.
pub(crate) fn by_worker(matches: &Matches) -> Vec<(Worker, u32)> {
    let mut list: Vec<_> = matches.iter().collect();
    list.sort_unstable();
    list
}
