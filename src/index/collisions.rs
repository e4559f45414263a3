//! Tests of what collisions do, with a prefix hash that collides all the time.

use proptest::prelude::*;

use super::error::Rejection;
use super::shared::prefix::PrefixHasher;
use super::write::export::export;
use super::write::shard::Shard;
use super::{Builder, Matches, Reader, WorkerStatus};
use crate::event::{Block, Event, EventData, Worker};
use crate::hash::sequence_hashes;

const WORKERS: u64 = 3;

fn shard(hasher: PrefixHasher) -> Shard {
    Shard::new(hasher, 100, 10)
}

fn event(worker: u64, data: EventData) -> Event {
    Event { worker: Worker::new(worker, 0), id: 1, data }
}

/// Each block by its name and its local hash.
fn stored_data(parent: Option<u64>, blocks: &[(u64, u64)]) -> EventData {
    let blocks = blocks.iter().map(|&(sequence, local)| Block { sequence, local }).collect();
    EventData::Stored { parent, blocks }
}

fn stored(worker: u64, parent: Option<u64>, blocks: &[(u64, u64)]) -> Event {
    event(worker, stored_data(parent, blocks))
}

/// What the shard knows, behind a hash that does not collide.
fn copy(shard: &Shard) -> Reader {
    let (mut writer, reader) = Builder::default().seed(1).build_local().expect("valid settings");
    writer.import(&export(shard, None)).expect("an export is sound");
    writer.publish();
    reader
}

fn depth(reader: &Reader, worker: u64, query: &[u64]) -> u32 {
    let mut matches = Matches::new();
    reader.find(query, &mut matches);
    matches.depth(Worker::new(worker, 0))
}

#[test]
fn whoever_collides_is_left_out_and_nobody_else_is_harmed() {
    let mut shard = shard(PrefixHasher::weak());
    // Both begin runs of their own at position 2, with equal prefix hashes: 1 ^ 2 ^ 4 and 2 ^ 1 ^ 4.
    for first in [stored(1, None, &[(1, 1), (2, 2), (3, 8)]), stored(1, Some(2), &[(4, 4), (5, 5)])] {
        assert_eq!(shard.apply(&first), Ok(()));
    }
    assert_eq!(shard.apply(&stored(2, None, &[(1, 2), (2, 1), (3, 16)])), Ok(()));
    assert_eq!(shard.apply(&stored(2, None, &[(9, 9)])), Ok(()));
    let colliding = stored(2, Some(2), &[(4, 4), (9, 5)]);
    assert_eq!(shard.apply(&colliding), Err(Rejection::Collision));
    assert_eq!((shard.held(), collisions(&shard, 1), collisions(&shard, 2)), (5 + 3, 0, 1), "9 is elsewhere now");
    let reader = copy(&shard);
    assert_eq!((depth(&reader, 1, &[1, 2, 4, 5]), depth(&reader, 2, &[2, 1, 4, 5])), (4, 2));
    assert_eq!((depth(&reader, 2, &[2, 1, 16]), depth(&reader, 2, &[9])), (3, 0));

    // What is in the way goes with who stored it, and nothing is left behind.
    shard.apply(&event(2, EventData::WorkerRemoved)).expect("never refused");
    assert_eq!(depth(&copy(&shard), 1, &[1, 2, 4, 5]), 4);
    shard.apply(&event(1, EventData::Cleared)).expect("never refused");
    assert_eq!((shard.runs().len(), shard.runs().blocks()), (0, 0));
}

/// Block 9 has two copies when a store that collides moves it elsewhere.
#[test]
fn a_collision_takes_away_all_copies() {
    let mut shard = shard(PrefixHasher::weak());
    shard.apply(&event(2, EventData::CopiesCounted)).expect("well-formed");
    for event in [
        stored(1, None, &[(1, 1), (2, 2), (3, 8)]),
        stored(1, Some(2), &[(4, 4)]),
        stored(2, None, &[(1, 2), (2, 1), (3, 16)]),
        stored(2, None, &[(9, 9)]),
        stored(2, None, &[(9, 9)]),
    ] {
        shard.apply(&event).expect("well-formed");
    }
    assert_eq!(shard.apply(&stored(2, Some(2), &[(4, 4), (9, 5)])), Err(Rejection::Collision));
    shard.apply(&stored(2, None, &[(9, 9)])).expect("well-formed");
    assert_eq!(depth(&copy(&shard), 2, &[9]), 1);
    shard.apply(&event(2, EventData::Removed { blocks: vec![9] })).expect("well-formed");
    assert_eq!(depth(&copy(&shard), 2, &[9]), 0, "it was stored once since");
}

fn collisions(shard: &Shard, worker: u64) -> u64 {
    let status = shard.workers().map(WorkerStatus::of).find(|status| status.worker.id == worker);
    status.map_or(0, |status| status.rejected[Rejection::Collision as usize])
}

/// Any names for any blocks.
fn any_data() -> impl Strategy<Value = EventData> {
    let names = 0_u64..12;
    let blocks = prop::collection::vec((names.clone(), 0_u64..8), 1..5);
    let stored = (prop::option::of(names.clone()), blocks);
    let stored = stored.prop_map(|(parent, blocks)| stored_data(parent, &blocks));
    let removed = prop::collection::vec(names, 1..4).prop_map(|blocks| EventData::Removed { blocks });
    prop_oneof![8 => stored, 3 => removed, 1 => Just(EventData::Cleared)]
}

/// Blocks under names that stand for their prefixes, as engines give them.
fn engine_data() -> impl Strategy<Value = EventData> {
    let path = prop::collection::vec(0_u64..8, 1..7);
    (path, any::<prop::sample::Index>(), 0..12).prop_map(|(path, from, kind)| {
        let from = from.index(path.len());
        let names: Vec<u64> = sequence_hashes(path.iter().copied()).collect();
        let blocks: Vec<_> = names.iter().copied().zip(path).skip(from).collect();
        match kind {
            0 => EventData::Cleared,
            1..4 => EventData::Removed { blocks: names[from..].to_vec() },
            _ => stored_data(from.checked_sub(1).map(|parent| names[parent]), &blocks),
        }
    })
}

/// Applies events behind a hash that collides all the time, and behind one that does not. Compares what workers
/// have of the queries: equally much where no event of theirs collided, and otherwise less at most, if `less` says
/// so.
fn compare(events: Vec<(u64, EventData)>, queries: &[Vec<u64>], less: bool) -> Result<(), TestCaseError> {
    let (mut weak, mut strong) = (shard(PrefixHasher::weak()), shard(PrefixHasher::seeded(1)));
    for (worker, data) in events {
        let event = event(worker, data);
        let (result, expected) = (weak.apply(&event), strong.apply(&event));
        prop_assert!(collisions(&weak, worker) > 0 || result == expected);
    }
    let (reader, judge) = (copy(&weak), copy(&strong));
    for worker in 0..WORKERS {
        let exact = collisions(&weak, worker) == 0;
        for query in queries {
            let [depth, right] = [&reader, &judge].map(|reader| depth(reader, worker, query));
            prop_assert!(if exact { depth == right } else { depth <= right || !less }, "{query:?}");
        }
    }
    for worker in 0..WORKERS {
        weak.apply(&event(worker, EventData::WorkerRemoved)).expect("never refused");
    }
    prop_assert_eq!((weak.runs().len(), weak.runs().blocks()), (0, 0), "nothing is left behind");
    Ok(())
}

proptest! {
    #[test]
    fn collisions_harm_nobody_else(
        events in prop::collection::vec((0..WORKERS, any_data()), 0..60),
        queries in prop::collection::vec(prop::collection::vec(0_u64..8, 1..9), 20),
    ) {
        compare(events, &queries, false)?;
    }

    #[test]
    fn collisions_only_take_away(
        events in prop::collection::vec((0..WORKERS, engine_data()), 0..60),
        queries in prop::collection::vec(prop::collection::vec(0_u64..8, 1..9), 20),
    ) {
        compare(events, &queries, true)?;
    }
}
