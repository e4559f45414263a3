//! Random events and queries, from alphabets so small that hashes, prefixes and names repeat all the time.

use kvleap::hash::sequence_hashes;
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

/// What a worker does in the conversation that it is in.
#[derive(Clone, Debug)]
enum Act {
    /// It decodes one block.
    Decode(u64),
    /// The next turn comes, and does not repeat the last so many blocks.
    Turn(usize, Vec<u64>),
    /// It goes on with the conversation that another worker is in.
    Join(usize),
    /// It has the last block under a second name.
    Twin,
    /// It removes the last so many blocks.
    Evict(usize),
    /// It removes a block from the middle.
    Punch(prop::sample::Index),
    Say(EventData),
}

/// Draws what a few workers say of their conversations. Some repeat events, as in [`stream`].
pub(crate) fn conversations(most: usize) -> impl Strategy<Value = Vec<Event>> {
    const WORKERS: usize = 4;
    let act = prop_oneof![
        24 => (0..2u64).prop_map(Act::Decode),
        8 => (0..6usize, prop::collection::vec(0..3u64, 1..6)).prop_map(|(back, locals)| Act::Turn(back, locals)),
        4 => (0..WORKERS).prop_map(Act::Join),
        1 => Just(Act::Twin),
        3 => (1..5usize).prop_map(Act::Evict),
        1 => any::<prop::sample::Index>().prop_map(Act::Punch),
        1 => prop::sample::select(vec![
            EventData::Cleared, EventData::WorkerRemoved, EventData::WorkerAdded, EventData::CopiesCounted
        ]).prop_map(Act::Say),
    ];
    let acts =
        prop::collection::vec((0..WORKERS, act, prop::option::weighted(0.1, any::<prop::sample::Index>())), most);
    acts.prop_map(|acts| {
        let mut paths: Vec<Vec<u64>> = vec![vec![7; 3]; WORKERS];
        let mut events: Vec<Event> = Vec::new();
        for (by, act, again) in acts {
            let event = Event { worker: Worker::new(by as u64, 0), id: 0, data: said(&mut paths, by, act) };
            events.push(event);
            events.extend(again.map(|index| index.get(&events).clone()));
        }
        events
    })
}

/// Returns the event that says what the worker does.
fn said(paths: &mut [Vec<u64>], by: usize, act: Act) -> EventData {
    let stored = |path: &[u64], from: usize| {
        let names: Vec<u64> = sequence_hashes(path.iter().copied()).collect();
        let blocks = names.iter().zip(path).skip(from).map(|(&sequence, &local)| Block { sequence, local }).collect();
        EventData::Stored { parent: from.checked_sub(1).map(|parent| names[parent]), blocks }
    };
    let other = match act {
        Act::Join(with) => paths[with].clone(),
        _ => Vec::new(),
    };
    let path = &mut paths[by];
    match act {
        Act::Decode(local) => {
            path.push(local);
            stored(path, path.len() - 1)
        }
        Act::Turn(back, locals) => {
            path.truncate(path.len().saturating_sub(back).max(1));
            path.extend(&locals);
            stored(path, path.len() - locals.len())
        }
        Act::Join(_) => {
            *path = other;
            stored(path, 0)
        }
        Act::Twin => {
            let mut data = stored(path, path.len() - 1);
            if let EventData::Stored { blocks, .. } = &mut data {
                blocks[0].sequence ^= 1;
            }
            data
        }
        Act::Evict(count) => {
            let names: Vec<u64> = sequence_hashes(path.iter().copied()).collect();
            path.truncate(path.len().saturating_sub(count).max(1));
            EventData::Removed { blocks: names[path.len()..].iter().rev().copied().collect() }
        }
        Act::Punch(index) => {
            let names: Vec<u64> = sequence_hashes(path.iter().copied()).collect();
            EventData::Removed { blocks: vec![*index.get(&names)] }
        }
        Act::Say(data) => data,
    }
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
